import folders
import numpy as np
import pytest
import torch

from mersa.alignment.embedding import Embedder, by_length, embed
from mersa.encoders.text import TextEncoder

TEXTS = ["so", "i am so happy now", "", "i don't go", "sad", "so"]


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("kind", folders.TEXT_SHAPES)
def test_vectors_are_those_of_the_frames_alone(kind, pooling, tmp_path):
    encoder = TextEncoder(str(folders.write_stirred_text(tmp_path, kind)))
    embedder = Embedder(encoder.load()[0], pooling)

    vectors = embed(embedder, encoder, TEXTS)

    frames = [encoder.encode([text]).frames[0] for text in TEXTS]
    expected = [one[0] if pooling == "first" else one.mean(axis=0) for one in frames]
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)


def test_chunks_give_what_one_chunk_gives_gradients_too(tmp_path):
    encoder = TextEncoder(str(folders.write_bert(tmp_path)))
    embedder = Embedder(encoder.load()[0].requires_grad_(True), "mean")

    def run(chunks):
        embedder.zero_grad()
        vectors = embedder([encoder.tokens([TEXTS[row] for row in chunk]) for chunk in chunks])
        order = [row for chunk in chunks for row in chunk]
        weights = torch.arange(vectors.numel()).view_as(vectors)[order]
        (vectors * weights).sum().backward()
        grads = [one.grad for one in embedder.parameters() if one.grad is not None]
        return vectors[torch.tensor(order).argsort()], grads

    (one, one_grads), (several, several_grads) = (
        run([[0, 1, 2, 3, 4, 5]]),
        run([[2, 0], [4, 5], [3, 1]]),
    )

    torch.testing.assert_close(several, one, rtol=1e-4, atol=1e-5)
    for found, expected in zip(several_grads, one_grads, strict=True):
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max().clamp(min=1e-3)


def test_chunks_hold_texts_of_like_length():
    assert by_length([3, 9, 4, 30, 5, 10], whole=False) == [[0, 2, 4], [1, 5], [3]]
    assert by_length([3, 9, 4], whole=True) == [[0, 2, 1]]


def test_embedding_leaves_the_mode_as_it_was(tmp_path):
    encoder = TextEncoder(str(folders.write_bert(tmp_path)))
    embedder = Embedder(encoder.load()[0], "first").train()

    first, again = embed(embedder, encoder, TEXTS), embed(embedder, encoder, TEXTS)

    assert embedder.training
    np.testing.assert_array_equal(first, again)
