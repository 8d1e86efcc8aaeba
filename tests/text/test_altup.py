import torch
from torch import nn

from gemma3n.config import TextConfig
from gemma3n.text.altup import AltUp, close_streams, open_streams

CONFIG = TextConfig(hidden_size=5, altup_num_inputs=3)


def test_prediction_mixes_streams_by_the_transposed_coefficients() -> None:
    altup, streams = AltUp(CONFIG), torch.randn(3, 2, 4, 5)
    mix = altup.prediction_coefs(altup._route(streams[0])).view(2, 4, 3, 3)
    for to in range(3):
        expected = streams[to] + sum(mix[..., to, of, None] * streams[of] for of in range(3))
        torch.testing.assert_close(altup.predict(streams)[to], expected)


def test_without_coefficients_every_stream_moves_as_the_active_one_did() -> None:
    altup, predicted = AltUp(CONFIG), torch.randn(3, 2, 4, 5)
    nn.init.zeros_(altup.correction_coefs.weight)
    computed = torch.randn(2, 4, 5)
    corrected = altup.correct(predicted, computed)
    torch.testing.assert_close(corrected[0], computed)
    torch.testing.assert_close(corrected[2] - predicted[2], computed - predicted[0])


def test_opened_streams_have_the_magnitude_of_the_embedding() -> None:
    projections = nn.ModuleList(nn.Linear(5, 5, bias=False) for _ in range(2))
    streams = open_streams(torch.randn(2, 4, 5), projections)
    magnitude = streams.pow(2).mean(-1)
    torch.testing.assert_close(magnitude[1], magnitude[0])
    torch.testing.assert_close(magnitude[2], magnitude[0])


def test_a_projection_to_nothing_is_not_divided_by_zero() -> None:
    nowhere = nn.Linear(5, 5, bias=False)
    nn.init.zeros_(nowhere.weight)
    projections = nn.ModuleList([nowhere])
    assert torch.equal(open_streams(torch.randn(1, 1, 5), projections)[1], torch.zeros(1, 1, 5))


def test_closing_is_the_mean_of_the_projected_streams() -> None:
    identity = nn.Linear(5, 5, bias=False)
    nn.init.eye_(identity.weight)
    streams = torch.randn(1, 2, 4, 5).expand(3, 2, 4, 5)
    closed = close_streams(streams, nn.ModuleList([identity, identity]))
    torch.testing.assert_close(closed, streams[0])
