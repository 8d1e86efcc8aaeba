import pytest
import torch

from gemma3n.losses.classify import Classify
from gemma3n.losses.contrastive import Contrastive
from gemma3n.losses.ctc import ALPHABET, Ctc, letters
from gemma3n.losses.phones import PHONES, Phones, frame_labels


def test_ctc_spells_what_its_frames_say() -> None:
    ctc = Ctc(width=1 + len(ALPHABET))
    torch.nn.init.eye_(ctc.head.weight)
    torch.nn.init.zeros_(ctc.head.bias)
    said = [*letters("ab"), 0, *letters("b b"), letters("b")[0]]
    frames = 20 * torch.eye(1 + len(ALPHABET))[said][None]
    assert ctc.spell(frames, torch.tensor([len(said)])) == ["abb b"]
    right = ctc(frames, torch.tensor([len(said)]), ["abb b"])
    wrong = ctc(frames, torch.tensor([len(said)]), ["cab"])
    assert right < 0.01 < wrong


def test_a_clip_too_short_for_its_text_does_not_spoil_the_batch() -> None:
    loss = Ctc(3)(torch.randn(2, 4, 3), torch.tensor([4, 2]), ["ab", "much too long"])
    assert torch.isfinite(loss)


def test_ctc_finds_when_each_letter_begins() -> None:
    ctc = Ctc(width=1 + len(ALPHABET))
    torch.nn.init.eye_(ctc.head.weight)
    torch.nn.init.zeros_(ctc.head.bias)
    a, b, space = (letters(one)[0] for one in "ab ")
    said = [0, a, a, b, 0, b, space, a, 0]
    frames = 20 * torch.eye(1 + len(ALPHABET))[torch.tensor([said, [b, 0, 0, a, 0, 0, 0, 0, 0]])]
    lengths, texts = torch.tensor([9, 3]), ["abb a", "b"]
    assert ctc.align(frames, lengths, texts) == [[1, 3, 5, 6, 7], [0]]
    # Two equal letters need a blank between them, and nothing is heard past a clip's length.
    assert ctc.align(frames, torch.tensor([9, 2]), ["", "bb"]) == [[], []]


def test_letters_outside_the_alphabet_are_left_out() -> None:
    assert letters("A-b é'") == [*letters("ab"), *letters(" '")]


def test_phones_are_learned_where_there_is_an_alignment() -> None:
    torch.manual_seed(0)
    phones, frames = Phones(5), torch.randn(2, 7, 5, requires_grad=True)
    phones(frames, ["SIL:2 AH:3", None]).backward()
    assert frames.grad is not None
    touched = frames.grad.abs().sum(-1) > 0
    assert touched.tolist() == [[True] * 5 + [False] * 2, [False] * 7]
    assert phones(frames, [None, None]) == 0


def test_an_alignment_is_one_label_a_frame() -> None:
    assert [PHONES[i] for i in frame_labels("SIL:1 AH:2 B:1")] == ["SIL", "AH", "AH", "B"]


def test_a_soft_token_names_all_the_frames_it_stands_for() -> None:
    phones = Phones(3, together=4)
    torch.nn.init.zeros_(phones.head.weight)
    with torch.no_grad():
        scores = torch.zeros(4, len(PHONES))
        scores[range(4), frame_labels("AH:1 B:2 SIL:1")] = 20
        phones.head.bias.copy_(scores.flatten())
    soft = torch.randn(1, 2, 3)
    assert phones(soft, ["AH:1 B:2 SIL:1 AH:1"]) < 0.01  # the second token's other frames are open
    assert phones(soft, ["AH:2 B:2"]) > 1


def test_contrastive_loss_falls_when_media_find_their_own_text() -> None:
    contrastive = Contrastive(4, joint=4)
    with torch.no_grad():
        contrastive.media.weight.copy_(torch.eye(4))
        contrastive.text.weight.copy_(torch.eye(4))
    soft = list(torch.eye(4)[:, None].expand(4, 3, 4))
    texts = list(torch.eye(4)[:, None].expand(4, 2, 4))
    assert contrastive(soft, texts) < 0.01
    assert contrastive(soft, texts[1:] + texts[:1]) > 1


def test_images_with_unknown_answers_count_nothing() -> None:
    classify, soft = Classify(4, ["a cat", "a dog"]), torch.randn(3, 5, 4)
    both = classify(soft, ["a cat", "a whale", "a dog"])
    torch.testing.assert_close(both, classify(soft[[0, 2]], ["a cat", "a dog"]))
    assert classify(soft, ["a whale"] * 3) == classify(soft, ["a cat", "a whale", "?"]) == 0
    assert set(classify.name(soft)) <= {"a cat", "a dog"}


@pytest.mark.parametrize("text", ["", "four zero seven"])
def test_losses_are_finite_for_any_text(text: str) -> None:
    loss = Ctc(3)(torch.randn(1, 40, 3), torch.tensor([40]), [text])
    assert torch.isfinite(loss)
