"""What a checkpoint takes of media: seconds a clip, and how many fit in its context."""

from dataclasses import dataclass

from gemma3n.config import Config

_SECONDS_A_TOKEN = 0.16  # of sound; a mel frame is 10 ms, and the audio tower joins 16 of them
_AROUND = 6  # tokens around a medium: its boundaries, and line breaks
_TEXT = 512  # tokens of the context that are kept for prompt and answer


@dataclass(frozen=True)
class Room:
    """How much of a checkpoint's context media take."""

    tokens: int  # that all media of a row may have together
    clip: int  # tokens of one
    image: int

    @classmethod
    def of(cls, config: Config) -> "Room":
        """The room of a checkpoint."""
        return cls(
            config.text.max_position_embeddings - _TEXT,
            config.audio_soft_tokens_per_image + _AROUND,
            config.vision_soft_tokens_per_image + _AROUND,
        )

    def images_beside(self, clips: int, images: int) -> int:
        """How many more images fit beside what is there; below 0 if that does not fit itself."""
        return (self.tokens - clips * self.clip - images * self.image) // self.image


def seconds_a_clip(config: Config) -> float:
    """Seconds of sound that the audio tower takes at once."""
    return config.audio_soft_tokens_per_image * _SECONDS_A_TOKEN
