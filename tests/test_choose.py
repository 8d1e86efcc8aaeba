import torch

from gemma3n.choose import logprobs_of


def test_log_probabilities_are_those_of_softmax_with_and_without_gradients() -> None:
    drawn = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 50, generator=drawn) * 5
    ids = torch.randint(50, (2, 3), generator=drawn)
    exact = logits.log_softmax(-1).gather(-1, ids[..., None]).squeeze(-1)
    torch.testing.assert_close(logprobs_of(logits, ids), exact)
    with torch.inference_mode():
        torch.testing.assert_close(logprobs_of(logits, ids), exact)
        assert logprobs_of(logits[:0], ids[:0]).shape == (0, 3)
