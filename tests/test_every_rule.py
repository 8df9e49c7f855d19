"""The contract over every rule, by discovery, and the proof that each promise can be broken."""

from dataclasses import replace

import pytest
import torch

from thalweg import contract, rules
from thalweg.card import Card, card_of
from thalweg.claims import CLAIMS
from thalweg.ops import norm, ratio, sqrt
from thalweg.rules import sgd as sgds
from thalweg.signature import Slot


@pytest.mark.parametrize("promise", contract.PROMISES)
@pytest.mark.parametrize("name", rules.names())
def test_contract(name, promise):
    contract.PROMISES[promise](rules.find(name))


@pytest.mark.parametrize("name", rules.names())
def test_every_rule_has_a_card_with_words(name):
    card = card_of(rules.find(name))
    assert isinstance(card, Card)
    for text in (card.title, card.paper, card.summary, card.intuition, card.when, card.when_not, card.search_source):
        assert text.strip()
    assert card.strengths
    assert card.weaknesses
    assert card.torch is not None or card.conventions
    assert set(card.kin) <= set(rules.names())


# ---- a rule that breaks each promise: the contract must see it


def changes_gradient(p, g, *, t, lr=0.1):
    return p - lr * (g.mul_(2) if isinstance(g, torch.Tensor) else 2 * g)


def grows_its_slot(p, g, m, *, t, lr=0.1):
    m = m + g
    return p - lr * m, m if not isinstance(m, torch.Tensor) else m.sum()


def moves_always(p, g, *, t, lr=0.1):
    return p - lr


def dead_flag(p, g, *, t, lr=0.1, nesterov=False):
    return p - lr * g


def dead_number(p, g, *, t, lr=0.1, eps=1e-8):
    return p - lr * g


def climbs(p, g, *, t, lr=0.1):
    return p + lr * g


def asks_its_type(p, g, *, t, lr=0.1):
    return p - lr * g * (2 if isinstance(g, float) else 1)


def hides_state(p, g, *, t, lr=0.1, seen=[]):  # noqa: B006
    return p - lr * g


class Counter:
    calls = 0


def remembers(p, g, *, t, lr=0.1):
    if isinstance(p, torch.Tensor):
        Counter.calls += 1
        return p - lr * g * (1 + Counter.calls)
    return p - lr * g


def two_kernels(p, g, *, t, lr=0.1):
    return p - lr * ratio(norm(p), norm(g)) * g


BREAKERS = {
    "leaves_its_inputs_alone": changes_gradient,
    "slots_keep_shape_and_dtype": grows_its_slot,
    "stays_put_without_gradient": moves_always,
    "every_flag_has_an_effect": dead_flag,
    "every_number_has_an_effect": dead_number,
    "reaches_the_bottom_of_a_bowl": climbs,
    "runs_on_plain_floats": asks_its_type,
    "continues_after_save_and_load": remembers,
    "engines_agree_with_eager": remembers,
    "trace_says_what_the_rule_does": remembers,
    "member_k_is_its_own_run": remembers,
    "maximising_is_minimising_minus_g": remembers,
}


@pytest.mark.parametrize("promise", BREAKERS)
def test_the_contract_sees_a_broken_promise(promise, monkeypatch):
    monkeypatch.setenv("THALWEG_ENGINE", "eager")  # a trace would not see what Python does beside the formula
    with pytest.raises(contract.Broken):
        contract.PROMISES[promise](BREAKERS[promise])


@pytest.mark.parametrize(
    ("promise", "change", "words"),
    [
        ("kernels_are_as_recorded", {"kernels": 2}, "1 kernels where the card says 2"),
        ("keeps_its_claims", {"claims": frozenset({"scale-free"})}, "gradients times 1000"),
        ("keeps_its_claims", {"claims": frozenset({"first-step-is-lr"})}, "its first steps are"),
        ("keeps_its_claims", {"claims": frozenset({"never-fails"})}, "known claims"),
        ("card_is_complete", {"search": {}}, None),
        ("card_is_complete", {"conventions": {"keras": {"momentun": 1}}}, "momentun"),
        ("reaches_the_bottom_of_a_bowl", {"bowl": replace(sgds.card.bowl, lr=1e-6)}, "it ends at"),
    ],
)
def test_the_contract_sees_a_false_card(monkeypatch, promise, change, words):
    monkeypatch.setattr(sgds, "card", replace(sgds.card, **change))
    with pytest.raises((contract.Broken, StopIteration), match=words):
        contract.PROMISES[promise](sgds.sgd)


@pytest.mark.parametrize(
    ("claim", "name"),
    [("scale-free", "sgd"), ("rotation-equivariant", "adam"), ("linear-in-gradient", "adagrad"),
     ("monotone-on-a-bowl", "momentum"), ("first-step-is-lr", "rmsprop"), ("sign-only", "adam"),
     ("relative-step-is-lr", "adamw")],
)  # fmt: skip
def test_every_claim_can_fail(claim, name):
    assert CLAIMS[claim](rules.find(name)) is not None


def test_every_claim_is_made_and_can_fail():
    made = {claim for name in rules.names() for claim in card_of(rules.find(name)).claims}
    assert made == set(CLAIMS)


def test_kernels_of_a_rule_with_a_norm():
    findings = contract.check(two_kernels)
    assert findings["kernels_are_as_recorded"] is None
    assert findings["engines_agree_with_eager"] is None
    assert findings["member_k_is_its_own_run"] is None


def test_check_reports_every_promise_of_a_users_rule():
    def normed(p, g, v, *, t, lr=0.1, beta=0.9, eps=1e-8):
        v = beta * v + (1 - beta) * g * g
        return p - lr * g / (sqrt(v) + eps), v

    findings = contract.check(normed)
    assert set(findings) == set(contract.PROMISES)
    assert [name for name, broken in findings.items() if broken] == []


def test_slot_that_starts_as_the_parameter():
    def anchored(p, g, home=Slot(start="p"), *, t, lr=0.1):
        return p - lr * g, home

    after = contract.walk(anchored, {"lr": 0.1}, contract.beginning((2,)), contract.gradients((2,)))[-1]
    assert torch.equal(after.slots["home"], contract.beginning((2,)))
