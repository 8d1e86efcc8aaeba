"""Prompt and soft tokens -> token ids and fused embeddings."""

from dataclasses import dataclass

from gemma3n.chat import Mark, Turn, parse_template
from gemma3n.errors import InputError
from stages.model import Load, shared_model
from stages.row import Row, Stage
from stages.setting import setting


@dataclass
class FuseSettings:
    """What the model is asked."""

    prompt: str = setting(
        "", "asked of every row without a prompt of its own; <audio>, <image> place its media"
    )
    chat: bool = setting(True, "ask as a chat turn, as released -it checkpoints expect")


class Fuse(Stage):
    """Lays out each row's prompt and puts its soft tokens in their places."""

    settings_type = FuseSettings
    reads = ("prompt",)
    takes = ("audio_tokens", "image_tokens")
    adds = ("token_ids", "embeddings")
    drops = ("audio_tokens", "image_tokens")

    def __init__(self, settings: FuseSettings, load: Load) -> None:
        self.model = shared_model(load)
        self.template = parse_template(settings.prompt)
        self.chat = settings.chat

    def __call__(self, rows: list[Row]) -> list[Row]:
        from gemma3n.generate import check_length

        tokenizer = self.model.tokenizer
        context = self.model.config.text.max_position_embeddings
        for row in rows:
            audio, images = row.pop("audio_tokens", []), row.pop("image_tokens", [])
            content = prompt_content(self.template, row["prompt"], len(audio), len(images))
            row["token_ids"] = (
                tokenizer.chat_ids([Turn("user", content)])
                if self.chat
                else tokenizer.prompt_ids(content)
            )
            # Here, where it costs the other rows of a batch nothing; `decode` would redo them all.
            check_length(len(row["token_ids"]), context)
            row["embeddings"] = self.model.fuse(row["token_ids"], audio, images)
        return rows


def prompt_content(
    template: list[str | Mark], own: str | None, clips: int, images: int
) -> list[str | Mark]:
    """What is asked of one row: text and a mark for each of its media.

    Args:
        template: the job's prompt; without marks it fits rows with any media.
        own: the row's prompt instead, plain text.
        clips: that the row has.
        images: that the row has.

    Raises:
        InputError: there is no prompt, or its marks are not as many as the media.
    """
    media = [Mark.IMAGE] * images + [Mark.AUDIO] * clips
    content: list[str | Mark] = template if own is None else [own]
    if not any(isinstance(part, Mark) for part in content):
        if not "".join(map(str, content)).strip():
            raise InputError(
                "there is no prompt, neither the job's nor the row's own. "
                'Set prompt="...", or add a "prompt" to the line of the manifest.'
            )
        return [*media, *content]
    for mark, there in ((Mark.IMAGE, images), (Mark.AUDIO, clips)):
        if content.count(mark) != there:
            raise InputError(
                f"the prompt has {content.count(mark)} {mark.value}, but the row has {there} of "
                "them. Give one mark each, or none in the whole prompt: then media come first."
            )
    return content
