"""Sparse gradients: only the rows they touch are read and written (lazily, as torch.optim.SparseAdam does)."""

import pytest
import torch

import thalweg as tw
from torch_cases import PAIRS

pytestmark = pytest.mark.usefixtures("engine")
ROWS = [[1, 4, 4, 7], [0, 1], [4], [9, 2, 7, 9]]  # the words of each batch; a word may come twice
TOUCHED = sorted({row for batch in ROWS for row in batch})
LEFT = [row for row in range(12) if row not in TOUCHED]


def table(sparse=True):
    torch.manual_seed(0)
    return torch.nn.Embedding(12, 5, sparse=sparse, dtype=torch.float64)


def train(optimizer, embedding, steps=40):
    for t in range(steps):
        optimizer.zero_grad()
        ((embedding(torch.tensor(ROWS[t % 4])) - 1) ** 2).sum().backward()
        assert embedding.weight.grad.is_sparse == embedding.sparse
        optimizer.step()
    return embedding.weight.detach()


SAME_AS_TORCHS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "maximize": True}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.3}),
]


@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")  # from torch's own Adagrad
@pytest.mark.parametrize(("name", "settings"), SAME_AS_TORCHS)
def test_equals_torch(name, settings):
    ours, theirs = table(), table()
    train(getattr(tw, name)(ours.parameters(), **settings), ours)
    train(getattr(torch.optim, name)(theirs.parameters(), **settings), theirs)
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-12, atol=0)


@pytest.mark.parametrize("maximize", [False, True])
def test_adam_equals_torchs_sparse_adam(maximize):
    """SparseAdam adds eps before the second moment's correction, as Keras does: our eps_hat."""
    settings = {"lr": 0.05, "betas": (0.8, 0.9), "eps": 1e-3, "maximize": maximize}
    ours, theirs, other = table(), table(), table()
    train(tw.Adam(ours.parameters(), eps_hat=True, **settings), ours)
    train(torch.optim.SparseAdam(theirs.parameters(), **settings), theirs)
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-12, atol=0)
    train(tw.Adam(other.parameters(), **settings), other)
    assert (other.weight - theirs.weight).abs().max() > 1e-6  # the two epsilons are not the same


@pytest.mark.parametrize("maximize", [False, True])
def test_adam_without_eps_equals_sparse_adam_at_its_defaults(maximize):
    settings = {"lr": 0.05, "eps": 1e-300, "maximize": maximize}
    ours, theirs = table(), table()
    train(tw.Adam(ours.parameters(), **settings), ours)
    train(torch.optim.SparseAdam(theirs.parameters(), **settings), theirs)
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-12, atol=0)


SETTINGS = [
    *((name, {}) for name in PAIRS),
    *((name, {"foreach": True}) for name in PAIRS),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("RMSprop", {"centered": True, "momentum": 0.9}),
    ("Adam", {"amsgrad": True}),
    ("NAdam", {"weight_decay": 0.1}),
    ("AdamW", {"weight_decay": 0.1}),
]


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_every_rule_touches_only_the_rows_of_the_gradient(name, settings):
    """A row without gradient keeps its bits, and so does its state, whatever momentum or decay it has."""
    embedding = table()
    before = embedding.weight.detach().clone()
    optimizer = getattr(tw, name)(embedding.parameters(), **settings)
    after = train(optimizer, embedding)
    assert torch.equal(after[LEFT], before[LEFT])
    assert (after[TOUCHED] != before[TOUCHED]).all()
    for key, value in optimizer.state[embedding.weight].items():
        if value is not None and value.ndim:
            assert (value[LEFT] == value[LEFT[0], 0]).all(), key
            assert (value[TOUCHED] != value[LEFT[0], 0]).all(), key
    kept = {k: v.clone() for k, v in optimizer.state[embedding.weight].items() if v is not None}
    middle = after.clone()
    embedding.weight.grad = torch.sparse_coo_tensor([[4]], torch.ones(1, 5).double(), (12, 5))
    optimizer.step()
    rest = [row for row in range(12) if row != 4]
    assert torch.equal(embedding.weight.detach()[rest], middle[rest])
    for key, value in kept.items():
        if value.ndim:
            assert torch.equal(optimizer.state[embedding.weight][key][rest], value[rest]), key


@pytest.mark.parametrize("name", PAIRS)
def test_a_sparse_gradient_that_names_every_row_is_a_dense_one(name, engine):
    sparse, dense = table(), table(sparse=False)
    optimizers = [getattr(tw, name)(e.parameters(), weight_decay=0.1) for e in (sparse, dense)]
    for t in range(20):
        for embedding, optimizer in zip((sparse, dense), optimizers, strict=True):
            optimizer.zero_grad()
            (torch.sin(embedding(torch.arange(12)) + t) ** 2).sum().backward()
            optimizer.step()
    if engine == "eager":  # the same operations, one by one
        assert torch.equal(sparse.weight, dense.weight)
    torch.testing.assert_close(sparse.weight, dense.weight, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", PAIRS)
def test_the_gradient_stays_as_it_was(name):
    """Uncoalesced, with a row twice, and not coalesced behind the user's back."""
    p = torch.ones(3, 2, requires_grad=True)
    p.grad = torch.sparse_coo_tensor([[2, 0, 2]], torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), (3, 2))
    grad = p.grad
    values = grad._values().clone()
    getattr(tw, name)([p]).step()
    assert p.grad is grad
    assert not grad.is_coalesced()
    assert torch.equal(grad._values(), values)


@pytest.mark.parametrize("name", PAIRS)
def test_an_empty_sparse_gradient_moves_nothing(name):
    p = torch.ones(3, 2, requires_grad=True)
    p.grad = torch.sparse_coo_tensor(torch.zeros(1, 0, dtype=torch.long), torch.zeros(0, 2), (3, 2))
    getattr(tw, name)([p]).step()
    assert torch.equal(p.detach(), torch.ones(3, 2))


def whole(p, g, *, t, lr=0.1):
    """A rule that needs the whole tensor."""
    from thalweg.ops import norm

    return p - lr * g / (norm(g) + 1)


def test_a_rule_that_needs_the_whole_tensor_refuses_in_one_sentence():
    p = torch.ones(3, 2, requires_grad=True)
    p.grad = torch.sparse_coo_tensor([[0]], torch.ones(1, 2), (3, 2))
    with pytest.raises(ValueError, match=r"^whole cannot take sparse gradients: its rule needs the whole tensor\.$"):
        tw.optimizer(whole)([p]).step()


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning")
def test_another_sparse_layout_is_refused_in_one_sentence():
    p = torch.eye(3).to_sparse_csr().requires_grad_()
    p.grad = torch.eye(3).to_sparse_csr()
    with pytest.raises(ValueError, match=r"layout is torch\.sparse_csr; it must be dense or sparse_coo"):
        tw.SGD([p]).step()


def test_a_gradient_that_is_refused_leaves_all_parameters_and_counts_as_they_were():
    first, second = (torch.nn.Parameter(torch.ones(3, 2)) for _ in range(2))
    optimizer = tw.LAMB([first, second], lr=0.1)
    for p in (first, second):
        p.grad = torch.ones(3, 2)
    optimizer.step()
    before = first.detach().clone()
    second.grad = torch.ones(3, 2).to_sparse(1)
    with pytest.raises(ValueError, match="LAMB cannot take sparse gradients"):
        optimizer.step()
    assert [int(optimizer.state[p]["step"]) for p in (first, second)] == [1, 1]
    assert torch.equal(first, before)
