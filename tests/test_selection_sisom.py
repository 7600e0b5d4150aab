"""SISOM's ratios and what is made of them: the worked numbers, the degenerate cases, and gradients against autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nnactive_ext.selection import (
    SelectionWarning,
    automatic_steepness,
    badge_gradient,
    largest,
    searched_steepness,
    sisom_ratio,
    sisom_ratios,
    sisome_score,
    uniform_divergence,
    weighted_activations,
)

BANK = np.array([[0, 0], [1, 0], [4, 0], [5, 1]], np.float32)
KNOWN = np.array([0, 0, 1, 1])


def at(*points) -> np.ndarray:
    return np.array(points, np.float32)


@pytest.mark.parametrize(
    ("x", "origin", "r"),
    [(2.4, "query", 0.875), (2.4, "neighbour", 0.4667), (1000, "query", 1.0040), (1000, "neighbour", 333)],
)
def test_the_ratio_and_where_the_outer_distance_starts(x, origin, r):
    found = sisom_ratio(at([x, 0]), BANK, np.array([0]), KNOWN, origin=origin)
    assert found.dtype == np.float64
    assert found == pytest.approx(r, abs=5e-5)


def test_leave_one_out_and_the_mix_with_energy():
    ratios = sisom_ratios(at([2.4, 0]), BANK, np.array([0]), KNOWN)
    np.testing.assert_allclose(ratios.bank, [0.25, 0.3333, 0.4714, 0.3430], atol=5e-5)
    assert ratios.average == pytest.approx(0.34943, abs=5e-6)
    # The page's example has a candidate of r = .5: at (2, 0), 1 from its own and 2 from the other class.
    ratios = sisom_ratios(at([2, 0]), BANK, np.array([0]), KNOWN)
    assert ratios.r == pytest.approx(0.5)
    bank_energy = np.array([-5.0, -4, -6, -3])
    z_r = (0.5 - ratios.bank.mean()) / ratios.bank.std()
    z_e = (-2 - bank_energy.mean()) / bank_energy.std()
    assert (z_r, z_e) == (pytest.approx(1.9021, abs=5e-5), pytest.approx(2.2361, abs=5e-5))
    assert sisome_score(ratios, np.array([-2.0]), bank_energy) == pytest.approx(2.0188, abs=5e-5)


def test_leave_one_out_from_the_neighbour():
    found = sisom_ratios(BANK, BANK, KNOWN, KNOWN, origin="neighbour").bank
    np.testing.assert_allclose(found, [1 / 3, 1 / 4, np.sqrt(2) / np.sqrt(17), np.sqrt(2) / 3])


def test_coinciding_patches_and_classes_that_the_bank_lacks_come_first():
    # 0: on a patch of another class; 1: on one of each; 2, 3: class 2, which the bank lacks; 4: as 0, farther from its own.
    candidates = at([4, 0], [4, 0], [2, 0], [2, 3], [5, 1], [1.5, 0])
    bank, known = np.concatenate([BANK, at([4, 0])]), np.array([0, 0, 1, 1, 3])
    ratios = sisom_ratios(candidates, bank, np.array([0, 1, 2, 2, 0, 0]), known)
    assert ratios.r.tolist() == [np.inf, 1, np.inf, np.inf, np.inf, pytest.approx(0.2)]
    assert largest(ratios.r, ratios, np.zeros(6), 6).tolist() == [4, 0, 3, 2, 1, 5]


def test_classes_that_the_bank_lacks_go_by_entropy_where_distances_tie():
    ratios = sisom_ratios(at([2, 0], [2, 0], [2, 0]), BANK, np.array([2, 2, 2]), KNOWN)
    assert largest(ratios.r, ratios, np.array([0.1, 0.3, 0.2]), 2).tolist() == [1, 2]


def test_an_empty_bank_leaves_it_to_entropy():
    with pytest.warns(SelectionWarning, match="entropy"):
        ratios = sisom_ratios(at([0, 0], [1, 1], [2, 2]), BANK[:0], np.zeros(3), KNOWN[:0])
    entropy = np.array([0.2, 0.5, 0.5])
    assert largest(ratios.r, ratios, entropy, 3).tolist() == [1, 2, 0]
    assert largest(sisome_score(ratios, np.zeros(3), np.zeros(1)), ratios, entropy, 1).tolist() == [0]  # energies tie


def test_a_bank_of_one_class_compares_with_its_own_distances():
    with pytest.warns(SelectionWarning, match="one class"):
        ratios = sisom_ratios(at([3, 0], [3, 0]), at([0, 0], [1, 0], [5, 0]), np.array([0, 1]), np.zeros(3, int))
    assert ratios.r.tolist() == [2, np.inf]  # 2 from its own; 1, 1 and 4 among them
    assert ratios.average == 1
    assert not len(ratios.bank)


def test_alone_in_its_class_and_equal_vectors_in_the_bank():
    lonely = sisom_ratios(at([0, 0]), BANK, np.array([0]), np.array([0, 1, 2, 3]))
    assert lonely.average == 1
    # The last two coincide and differ in class: counted as 1, not as infinite.
    bank = np.concatenate([BANK, at([5, 1])])
    found = sisom_ratios(at([0, 0]), bank, np.array([0]), np.array([0, 0, 1, 1, 0])).bank
    assert np.isfinite(found).all()
    assert found.max() == 1


def test_the_gradient_of_the_divergence_is_p_minus_uniform():
    logits = torch.randn(5, 7, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(0))
    uniform_divergence(logits).sum().backward()
    torch.testing.assert_close(logits.grad, logits.detach().softmax(0) - 1 / 5)
    p = logits.detach().softmax(0)
    torch.testing.assert_close(uniform_divergence(logits.detach()), (0.2 * (0.2 / p).log()).sum(0))


def test_the_gradient_for_regions_is_p_minus_a_half():
    logits = torch.randn(3, 7, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(0))
    found = uniform_divergence(logits, regions=True)
    found.sum().backward()
    torch.testing.assert_close(logits.grad, (logits.detach().sigmoid() - 0.5) / 3)
    assert (found > 0).all()
    assert uniform_divergence(torch.zeros(3, 1), regions=True).item() == pytest.approx(0, abs=1e-6)


def test_sisoms_gradient_of_a_small_network_is_what_one_gets_by_hand():
    """Two linear layers with a ReLU between: the gradient by the hidden units is W2' (p - 1/C) where they are active."""
    generator = torch.Generator().manual_seed(1)
    first, last, x = (torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((6, 3), (4, 6), (3, 10)))
    hidden = (first @ x).relu().requires_grad_()
    logits = last @ hidden
    uniform_divergence(logits).mean().backward()
    by_hand = last.T @ (logits.detach().softmax(0) - 1 / 4) / 10
    torch.testing.assert_close(hidden.grad, by_hand)
    product = (hidden.detach().mean(1) * by_hand.mean(1)).numpy()[None]
    z = weighted_activations([product, product], [1.0, 0.0])
    np.testing.assert_allclose(z[0, :6], 1 / (1 + np.exp(-product[0])), rtol=1e-6)
    assert (z[0, 6:] == 0.5).all()


@pytest.mark.parametrize("regions", [False, True])
def test_badges_gradient_is_that_of_the_mean_cross_entropy(regions):
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(3, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    phi = torch.randn(5, 4, 4, 4, dtype=torch.float64, generator=generator)
    logits = torch.einsum("cf,fzyx->czyx", weight, phi)
    if regions:
        p, label = logits.sigmoid(), (logits.detach() > 0).double()
        torch.nn.functional.binary_cross_entropy_with_logits(logits, label, reduction="none").sum(0).mean().backward()
    else:
        p = logits.softmax(0)
        torch.nn.functional.cross_entropy(logits[None], logits.detach().argmax(0)[None]).backward()
    found = badge_gradient(p.detach().numpy(), phi.numpy(), regions=regions)
    np.testing.assert_allclose(found.reshape(3, 5), weight.grad.numpy(), rtol=1e-5, atol=1e-7)


def test_automatic_steepness_leaves_zeros_out():
    assert automatic_steepness([np.array([[0, -2, 4], [0, 0, 8.0]]), np.zeros((2, 3))]) == [0.25, 1]


def test_the_search_never_does_worse_than_automatic():
    rng = np.random.default_rng(0)
    classes = np.arange(30) % 3
    products = [rng.normal(size=(30, 4)) + classes[:, None], rng.normal(size=(30, 4)) * 50]

    def average(steepness):
        z = weighted_activations(products, steepness)
        return sisom_ratios(z, z, classes, classes).average

    automatic, searched = automatic_steepness(products), searched_steepness(products, classes)
    assert average(searched) <= average(automatic)
    assert all(np.isclose(s / a, [0.1, 1, 10]).any() for s, a in zip(searched, automatic, strict=True))
    assert searched != automatic
