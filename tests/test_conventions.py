"""Every convention on every card is proven: against the library itself, or the printed formula.

By discovery: an entry on a card without a proof here fails, and so does a proof without an entry.
"""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"  # before keras is imported: it needs no second framework

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest
import torch

import thalweg as tw
from reference import lecture, optax_rules, papers, tensorflow1, timm_rules
from reference.libraries import of_keras, of_pytorch_optimizer, of_torch
from reference.walker import Reference, path
from torch_cases import PAIRS

EQUAL = 1e-12
# Keras' torch backend and numpy 2, where Keras' Nadam turns a tensor into an array.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(autouse=True)
def in_float64(float64):
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx(before)


@dataclass
class Proof:
    """A reference, and the settings at which the two are compared.

    `pairs`: what is given to ours on top of the card's settings, and what to the reference; the first pair is
    at the source's own defaults, as far as it has any.
    """

    reference: Any
    pairs: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (({}, {}),)


def library(name, *pairs, **always):
    return Proof(lambda **settings: of_keras(name, **always, **settings), (({}, {}), *pairs))


def same(*settings):
    """Settings that both sides spell alike."""
    return tuple((s, s) for s in settings)


BETAS = ({"betas": (0.7, 0.9)}, {"beta_1": 0.7, "beta_2": 0.9})
MOMENTUM = ({"momentum": 0.8}, {"momentum": 0.8})
CENTERED = ({"centered": True}, {"centered": True})
BOTH = ({"momentum": 0.8, "centered": True}, {"momentum": 0.8, "centered": True})
AMSGRAD = ({"amsgrad": True, **BETAS[0]}, {"amsgrad": True, **BETAS[1]})
OPTAX_BETAS = ({"betas": (0.7, 0.9)}, {"b1": 0.7, "b2": 0.9})
EPS_ROOT = ({"eps_root": 1e-3, "eps": 1e-4}, {"eps_root": 1e-3, "eps": 1e-4})
DECAY = ({"weight_decay": 0.3, "lr": 0.1}, {"weight_decay": 0.3, "learning_rate": 0.1})
LAMBDA = ({"weight_decay": 0.3}, {"lambda_": 0.3})
SUM = {"momentum": 0.9}

PROOFS: dict[tuple[str, str], Proof] = {
    **{
        (name, "torch"): Proof(lambda theirs=theirs, extra=extra, **s: of_torch(theirs, **{**extra, **s}))
        for name, (theirs, extra) in PAIRS.items()
    },
    ("Adam", "torch, SparseAdam"): Proof(
        lambda **s: of_torch("SparseAdam", sparse=True, **s), same({}, {"betas": (0.7, 0.9), "eps": 1e-3})
    ),
    # ---- Keras: the library itself
    ("SGD", "keras"): library("SGD"),
    ("Momentum", "keras"): Proof(lambda **s: of_keras("SGD", **{"momentum": 0.9, **s}), (({}, {}), MOMENTUM)),
    ("Nesterov", "keras"): Proof(
        lambda **s: of_keras("SGD", nesterov=True, **{"momentum": 0.9, **s}), (({}, {}), MOMENTUM)
    ),
    ("Adagrad", "keras"): library("Adagrad"),
    ("Adadelta", "keras"): library("Adadelta", ({"rho": 0.5}, {"rho": 0.5})),
    ("RMSprop", "keras"): library("RMSprop", ({"alpha": 0.5}, {"rho": 0.5}), MOMENTUM, CENTERED, BOTH),
    ("Adam", "keras"): library("Adam", BETAS, AMSGRAD, ({"decoupled_weight_decay": True, **DECAY[0]}, DECAY[1])),
    ("AdamW", "keras"): library("AdamW", BETAS, AMSGRAD, DECAY),
    ("NAdam", "keras"): library("Nadam", BETAS, ({"decoupled_weight_decay": True, **DECAY[0]}, DECAY[1])),
    ("Lion", "keras"): library("Lion", BETAS, DECAY),
    ("LAMB", "keras"): library("Lamb", BETAS),
    # ---- pytorch_optimizer: the library itself
    ("Lion", "pytorch_optimizer"): Proof(
        lambda **s: of_pytorch_optimizer("Lion", **s), same({}, {"betas": (0.7, 0.9)}, {"weight_decay": 0.3, "lr": 0.1})
    ),
    # ---- optax: written from its source
    ("SGD", "optax"): Proof(optax_rules.sgd),
    ("Momentum", "optax"): Proof(lambda **s: optax_rules.sgd(**{"momentum": 0.9, **s}), (({}, {}), MOMENTUM)),
    ("Nesterov", "optax"): Proof(
        lambda **s: optax_rules.sgd(nesterov=True, **{"momentum": 0.9, **s}), (({}, {}), MOMENTUM)
    ),
    ("Adagrad", "optax"): Proof(optax_rules.adagrad),
    ("Adadelta", "optax"): Proof(optax_rules.adadelta, (({}, {}), *same({"rho": 0.5, "eps": 1e-3}))),
    ("RMSprop", "optax"): Proof(
        optax_rules.rmsprop,
        (
            ({}, {}),
            MOMENTUM,
            CENTERED,
            BOTH,
            ({"bias_correction": True, **BOTH[0]}, {"bias_correction": True, **BOTH[1]}),
            (
                {"initial_accumulator_value": 0.5, "eps_inside_root": False},
                {"initial_scale": 0.5, "eps_in_sqrt": False},
            ),
        ),
    ),
    ("Adam", "optax"): Proof(optax_rules.adam, (({}, {}), OPTAX_BETAS, EPS_ROOT)),
    ("Adam", "optax, amsgrad"): Proof(optax_rules.amsgrad, (({}, {}), OPTAX_BETAS, EPS_ROOT)),
    ("AdamW", "optax"): Proof(optax_rules.adamw, (({}, {}), OPTAX_BETAS, EPS_ROOT, *same({"weight_decay": 0.3}))),
    ("NAdam", "optax"): Proof(optax_rules.nadam, (({}, {}), OPTAX_BETAS)),
    ("Lion", "optax"): Proof(optax_rules.lion, (({}, {}), OPTAX_BETAS, *same({"weight_decay": 0.3}))),
    ("LAMB", "optax"): Proof(optax_rules.lamb, (({}, {}), OPTAX_BETAS, *same({"weight_decay": 0.3}))),
    # ---- timm: written from its source; no trust ratio where there is no decay
    ("LAMB", "timm"): Proof(timm_rules.lamb, same({}, {"betas": (0.7, 0.9)}, {"weight_decay": 0.0})),
    ("LAMB", "timm, trust_clip"): Proof(
        lambda **s: timm_rules.lamb(trust_clip=True, **s),
        same({}, {"weight_decay": 0.0, "betas": (0.0, 0.999), "lr": 0.5}, {"weight_decay": 3.0}),
    ),
    # ---- TensorFlow 1: written from its documentation
    ("RMSprop", "tensorflow 1"): Proof(tensorflow1.rmsprop, (({}, {}), MOMENTUM, CENTERED, BOTH)),
    # ---- the papers' boxes
    ("Adam", "paper"): Proof(papers.adam, (({}, {}), BETAS)),
    ("AdamW", "paper"): Proof(  # its lambda is not multiplied by alpha: ours is lambda / alpha
        papers.adamw,
        (({}, {"lambda_": 1e-2 * 1e-3}), ({"weight_decay": 0.3, "lr": 0.1}, {"lambda_": 0.03, "alpha": 0.1})),
    ),
    ("Adadelta", "paper"): Proof(papers.adadelta, (({}, {}), ({"rho": 0.5}, {"rho": 0.5}))),
    ("Lion", "paper"): Proof(papers.lion, (({}, {}), BETAS, LAMBDA)),
    ("LAMB", "paper"): Proof(papers.lamb, (({}, {}), BETAS, LAMBDA)),
    ("Momentum", "paper"): Proof(papers.momentum, (({}, {"mu": 0.9}), ({"momentum": 0.5}, {"mu": 0.5}))),
    # ---- the lecture's formulas
    ("SGD", "lecture"): Proof(lecture.gradient_descent),
    ("Adagrad", "lecture"): Proof(lecture.adagrad, same({"eps": 1e-10}, {"eps": 1e-3})),
    ("RMSprop", "lecture, weighted average"): Proof(lecture.rmsprop, same({"eps": 1e-8}, {"eps": 1e-3})),
    ("RMSprop", "lecture, bias-corrected"): Proof(
        lecture.rmsprop_corrected,
        (({}, {"eps": 1e-8, "beta": 0.99}), ({"eps": 1e-3, "alpha": 0.5}, {"eps": 1e-3, "beta": 0.5})),
    ),
    ("Adadelta", "lecture, formula"): Proof(
        lecture.adadelta_formula, same({"rho": 0.9, "eps": 1e-6}, {"rho": 0.5, "eps": 1e-2})
    ),
    ("Adadelta", "lecture, code"): Proof(lecture.adadelta_code, same({"rho": 0.9}, {"rho": 0.5})),
    ("Momentum", "lecture, as a sum"): Proof(lecture.momentum_sum),
    ("Momentum", "lecture, as an average"): Proof(
        lecture.momentum_average, (({}, {"beta": 0.9}), ({"momentum": 0.5}, {"beta": 0.5}))
    ),
    ("Adam", "lecture"): Proof(lecture.adam, (({}, {"eps": 1e-8}), ({"eps": 1e-3}, {"eps": 1e-3}))),
}

ENTRIES = [(name, convention) for name in tw.optimizers.__all__ for convention in getattr(tw, name).card.conventions]


def ours(name: str, **settings: Any) -> Reference:
    """Our class, stepped like the references."""
    p = torch.zeros(6, dtype=torch.float64)
    optimizer = getattr(tw, name)([p], **settings)

    def step(value, g, t, lr):
        if t == 1:
            p.copy_(torch.from_numpy(value))
        optimizer.param_groups[0]["lr"] = lr
        p.grad = torch.from_numpy(g)
        optimizer.step()
        return p.numpy().copy()

    return Reference(step, lr=optimizer.defaults["lr"])


def paths(proof: Proof, name: str, settings: dict[str, Any]):
    """For each pair, our path and the reference's, each from its own default lr."""
    for for_ours, for_theirs in proof.pairs:
        mine = ours(name, **{**settings, **for_ours})
        theirs = proof.reference(**for_theirs)
        yield path(mine, mine.lr), path(theirs, mine.lr if theirs.lr is None else theirs.lr)


def far(mine: np.ndarray, theirs: np.ndarray) -> float:
    """max |p - q| / max |q| of each coordinate's path: each has a size of its own."""
    return float((np.abs(mine - theirs).max(0) / np.abs(theirs).max(0)).max())


def test_every_convention_has_a_proof_and_every_proof_a_convention():
    assert set(ENTRIES) == set(PROOFS)


@pytest.mark.parametrize(("name", "convention"), ENTRIES)
@pytest.mark.usefixtures("engine")
def test_convention(name, convention):
    assert (name, convention) in PROOFS, f"{name}'s convention {convention!r} has no proof in test_conventions.py"
    proof = PROOFS[name, convention]
    for mine, theirs in paths(proof, name, getattr(tw, name).card.conventions[convention]):
        assert np.isfinite(theirs).all()
        assert far(mine, theirs) <= EQUAL


@pytest.mark.parametrize(
    ("name", "convention", "setting"),
    [(n, c, s) for n, c in ENTRIES for s in getattr(tw, n).card.conventions[c]],
)
def test_no_setting_on_a_card_is_idle(name, convention, setting):
    """Without it, the path is another one: the card claims no more than is needed, and the proof can fail."""
    settings = dict(getattr(tw, name).card.conventions[convention])
    del settings[setting]
    assert max(far(*pair) for pair in paths(PROOFS[name, convention], name, settings)) > 1e-9


def test_the_lectures_adam_with_its_misprint_is_another_optimizer():
    mended, printed = (path(lecture.adam(eps=1e-8, mended=mended), 1e-3) for mended in (True, False))
    assert far(printed, mended) > 1e-3


def test_nesterov_is_sutskevers_at_the_point_where_it_looks():
    """Equations 3 and 4 of Sutskever et al. 2013, which walk in theta; ours holds theta + mu v."""
    from reference.walker import slope, start

    looked = papers.nesterov(slope, start(), mu=0.9, epsilon=0.05, steps=80)
    for settings in ({}, {"lr_in_velocity": True}):
        mine = ours("Nesterov", lr=0.05, momentum=0.9, **settings)
        p, seen = start(), []
        for t in range(1, 81):
            p = mine.step(p, slope(p, t), t, 0.05)
            seen.append(p)
        assert far(np.array(seen), np.array(looked)) <= EQUAL


def test_amsgrad_without_correction_is_reddis():
    """bias_correction=False and eps=0 give Algorithm 2 of the paper."""
    mine = ours("Adam", amsgrad=True, bias_correction=False, eps=0.0, betas=(0.9, 0.9))
    assert far(path(mine, 0.01), path(papers.amsgrad(beta_2=0.9), 0.01)) <= EQUAL
