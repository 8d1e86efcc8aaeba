"""Prompt and soft tokens -> token ids and fused embeddings."""

from dataclasses import dataclass, replace
from itertools import accumulate

from gemma3n.chat import Mark, Turn
from gemma3n.errors import InputError, SettingsError
from stages.languages import language_name
from stages.model import Load, shared_model
from stages.prompts import DEFAULT_TASK, check_task, first_filled, places_in
from stages.row import Row, Stage
from stages.setting import fixed, setting
from stages.turns import chat_turns

_LETTERS = {"a": Mark.AUDIO, "i": Mark.IMAGE}  # of `audio_parts` and `image_parts`


@dataclass
class FuseSettings:
    """What the model is asked."""

    prompt: str = setting(
        "",
        "asked of every row without a prompt or a task of its own, instead of the task's; <audio>, "
        "<image> place its media, {language} and {to} the settings of that name",
    )
    task: str = setting(
        DEFAULT_TASK, "what to do: picks the prompt, and how large pictures are if that is auto"
    )
    prompts: dict[str, list[str]] = fixed({})  # by task; the first whose places are known is asked
    language: str | None = setting(
        None, "that recordings are in, of rows that do not say: French, or fr"
    )
    to: str = setting("English", "language to translate into: Italian, or it")
    chat: bool = setting(True, "ask as a chat turn, as released -it checkpoints expect")

    def __post_init__(self) -> None:
        for name in ("language", "to"):
            if (given := getattr(self, name)) is not None:
                try:
                    setattr(self, name, language_name(given))
                except InputError as error:
                    raise SettingsError(f"fuse.{name}: {error}") from error

    def templates(self) -> list[str]:
        """What is asked of rows that bring nothing of their own; of several, see `first_filled`."""
        return [self.prompt] if self.prompt.strip() else self.prompts.get(self.task, [])


class Fuse(Stage):
    """Lays out each row's prompt and puts its soft tokens in their places."""

    settings_type = FuseSettings
    reads = ("prompt", "task", "language", "turns", "audio_parts", "image_parts")
    takes = ("audio_tokens", "image_tokens")
    adds = ("token_ids", "embeddings")
    drops = ("audio_tokens", "image_tokens")

    def __init__(self, settings: FuseSettings, load: Load) -> None:
        self.model = shared_model(load)
        self.settings = settings

    def __call__(self, rows: list[Row]) -> list[Row]:
        from gemma3n.generate import check_length

        tokenizer = self.model.tokenizer
        context = self.model.config.text.max_position_embeddings
        for row in rows:
            audio, images = row.pop("audio_tokens", []), row.pop("image_tokens", [])
            turns = self._turns(row, len(row["audio_parts"]), len(row["image_parts"]))
            turns, order = spread(turns, row["audio_parts"], row["image_parts"])
            audio = [audio[clip] for clip in order]
            row["token_ids"] = (
                tokenizer.chat_ids(turns)
                if self.settings.chat
                else tokenizer.prompt_ids(turns[0].content)
            )
            # Here, where it costs the other rows of a batch nothing; `decode` would redo them all.
            check_length(len(row["token_ids"]), context)
            row["embeddings"] = self.model.fuse(row["token_ids"], audio, images)
        return rows

    def _turns(self, row: Row, clips: int, images: int) -> list[Turn]:
        template = self._template(row)
        if row["turns"] is None:
            return [Turn("user", prompt_content(template, row["prompt"], clips, images))]
        if not self.settings.chat:
            raise InputError(
                "the row is a chat, but fuse.chat=false asks without turns, as base checkpoints "
                "know it. Leave that out, or give the row a prompt in place of its turns."
            )
        turns = chat_turns(row["turns"], row["prompt"])
        return with_media(turns, clips, images)

    def _template(self, row: Row) -> list[str | Mark]:
        """What is asked of a row unless it brings a prompt or a chat."""
        settings, task = self.settings, row["task"]
        if task is not None:
            check_task(task, settings.prompts)
        if row["prompt"] is not None or row["turns"] is not None:
            return []
        templates = settings.templates() if task is None else settings.prompts[task]
        language = settings.language
        if row["language"] is not None and "language" in places_in(templates):
            language = language_name(row["language"])
        if self.model.config.only_language is not None:  # it was never asked for one
            language = None
        return first_filled(templates, {"language": language, "to": settings.to})


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
    content: list[str | Mark] = template if own is None else [own]
    if not any(isinstance(part, Mark) for part in content):
        if not "".join(map(str, content)).strip():
            raise InputError(
                "there is no prompt, neither the job's nor the row's own. "
                'Set prompt="...", or add a "prompt" to the line of the manifest.'
            )
        return [*_media(clips, images), *content]
    check_marks(content, clips, images)
    return content


def with_media(turns: list[Turn], clips: int, images: int) -> list[Turn]:
    """A chat with a mark for each of its media; where it has none, they come before its last words.

    Args:
        turns: of the row; the last user turn may be changed.
        clips: that the row has.
        images: that the row has.

    Raises:
        InputError: it has marks, and not as many as there are media.
    """
    if not any(isinstance(part, Mark) for turn in turns for part in turn.content):
        last = next((turn for turn in reversed(turns) if turn.role == "user"), None)
        if last is not None:  # a chat of nobody is refused where token ids are made
            last.content[:0] = _media(clips, images)
    check_marks([part for turn in turns for part in turn.content], clips, images)
    return turns


def check_marks(content: list[str | Mark], clips: int, images: int) -> None:
    """Refuse a prompt whose marks are not as many as the media.

    Raises:
        InputError: they are not.
    """
    for mark, there in ((Mark.IMAGE, images), (Mark.AUDIO, clips)):
        if content.count(mark) != there:
            raise InputError(
                f"the prompt has {content.count(mark)} {mark.value}, but the row has {there} of "
                "them. Give one mark each, or none in the whole prompt: then media come first."
            )


def spread(
    turns: list[Turn], audio_parts: list[str], image_parts: list[str]
) -> tuple[list[Turn], list[int]]:
    """Put in place of each mark all that it stands for: a long clip is several, a film both kinds.

    Args:
        turns: as many marks as there are parts.
        audio_parts: of the row, see `Row`; their clips are numbered first.
        image_parts: of the row.

    Returns:
        The turns, and the numbers of the clips in the order of their marks.
    """
    starts = list(accumulate((part.count("a") for part in [*audio_parts, *image_parts]), initial=0))
    marks = {
        Mark.AUDIO: iter(zip(audio_parts, starts, strict=False)),
        Mark.IMAGE: iter(zip(image_parts, starts[len(audio_parts) :], strict=False)),
    }
    spread_turns: list[Turn] = []
    order: list[int] = []
    for turn in turns:
        content: list[str | Mark] = []
        for piece in turn.content:
            if not isinstance(piece, Mark):
                content.append(piece)
                continue
            part, start = next(marks[piece])
            content += [_LETTERS[letter] for letter in part]
            order += range(start, start + part.count("a"))
        spread_turns.append(replace(turn, content=content))
    return spread_turns, order


def _media(clips: int, images: int) -> list[str | Mark]:
    return [*[Mark.IMAGE] * images, *[Mark.AUDIO] * clips]
