"""How a value is kept between steps: rounding by chance, compensation, and state in a type of its own."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch

import thalweg as tw
from thalweg import rules
from thalweg.engine import build, cpu, eager, triton
from thalweg.engine.cell import Cell
from thalweg.engine.store import draws, key
from thalweg.ops import norm
from thalweg.signature import Slot

ENGINES = {"eager": {"engine": "eager"}, "foreach": {"engine": "eager", "foreach": True}, "cpu": {"engine": "cpu"}}
KERNELS = [cpu]
if triton.runs_on(torch.device("cpu")):
    ENGINES["triton"] = {"engine": "triton"}
    KERNELS.append(triton)
HALF = tw.Store(state=torch.bfloat16, rounding="stochastic")
WHOLE = tw.Store(state=torch.bfloat16, rounding="stochastic", kahan=True, seed=5)
SHAPES = ((33,), (4, 5), ())


@pytest.fixture(params=ENGINES)
def engine(request):
    if request.param == "cpu":
        try:
            build.compiler()
        except build.NoCompiler:
            pytest.skip("no compiler")
    return ENGINES[request.param]


def parameters(dtype=torch.bfloat16, shapes=SHAPES):
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(s, generator=generator).to(dtype)) for s in shapes]


def drive(optimizer, start=0, stop=6):
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for t in range(start, stop):
        generator = torch.Generator().manual_seed(100 + t)
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator).to(p.dtype)
        optimizer.step()
    kept = [value.double() for p in params for value in optimizer.state[p].values()]
    return [p.detach().double() for p in params] + kept


def same(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def copies(p, g, m, *, t):
    return p, g


def written(values, t, store, seed_of_tensor=0, how=eager):
    """bfloat16 as one step writes these float32 values."""
    g = torch.as_tensor(values, dtype=torch.float32)
    m = torch.zeros(g.shape, dtype=torch.bfloat16)
    [(_, slots)] = how.step(copies, [Cell(torch.zeros_like(g), g, {"m": m}, t, store, seed_of_tensor)], {})
    return slots["m"]


# ---- rounding by chance


def mixed(x):
    """The published hash (lowbias32: https://github.com/skeeto/hash-prospector), on Python's integers."""
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) % 2**32
    x = ((x ^ (x >> 15)) * 0x735A2D97) % 2**32
    return x ^ (x >> 15)


def test_the_random_bits_are_the_published_hash():
    wanted = [mixed(mixed(i) ^ 12345) for i in range(1000)]
    assert draws(torch.Size([10, 100]), 12345, torch.device("cpu")).flatten().tolist() == wanted


def test_the_random_bits_are_uniform_and_differ_between_steps_places_tensors_and_seeds():
    keys = [key(seed, t, place, tensor) for seed, t, place, tensor in itertools.product(*[(0, 1, 2)] * 4)]
    assert len(set(keys)) == len(keys)
    bits = torch.stack([draws(torch.Size([4096]), k, torch.device("cpu")) >> 16 for k in keys]).double() / 2**16
    assert bits.mean().item() == pytest.approx(0.5, abs=4 / np.sqrt(12 * bits.numel()))
    correlation = torch.corrcoef(bits) - torch.eye(len(keys), dtype=torch.float64)
    assert correlation.abs().max().item() < 5.5 / np.sqrt(4096)  # the largest of 3240, if they are independent
    spectrum = torch.fft.rfft(bits - bits.mean(), dim=1).abs().square().mean(0)[1:]  # neighbours as well
    assert (spectrum / spectrum.mean()).max().item() < 2.5


@pytest.mark.parametrize("how", [eager, cpu], ids=["eager", "cpu"])
def test_by_hand_the_chances_are_the_distances(how):
    # Between 1 and 1 + 2^-7 there is no bfloat16; a quarter of the way up, one draw in four goes up.
    value, low, high = 1 + 2**-9, 1.0, 1 + 2**-7
    got = written([value] * 65536, 1, HALF, how=how).float()
    assert set(got.tolist()) == {low, high}
    up = (got == high).double().mean().item()
    assert up == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 65536))
    negative = written([-value] * 65536, 1, HALF, how=how).float()
    assert torch.equal(negative, -got)  # the same draws: away from zero with the same chance


@pytest.mark.parametrize("how", [eager, cpu], ids=["eager", "cpu"])
def test_unbiased_where_rounding_to_nearest_is_not(how):
    values = torch.logspace(-30, 30, 40) * 1.0027
    total = torch.zeros(40, dtype=torch.float64)
    steps, places = 200, 20  # chance is drawn anew in every step and at every place
    for t in range(1, steps + 1):
        total += written(values.repeat(places), t, HALF, how=how).double().view(places, 40).sum(0)
    relative = (total / (steps * places) - values.double()) / values.double()
    deviation = 2**-8  # half of the widest step, 2^-7 of the value: both ends equally likely
    assert relative.abs().max().item() < 4.5 * deviation / np.sqrt(steps * places)
    nearest = written(values, 1, tw.Store(state=torch.bfloat16), how=how).double()
    assert ((nearest - values) / values).abs().max().item() > 1e-3


@pytest.mark.parametrize("how", [eager, cpu], ids=["eager", "cpu"])
def test_what_needs_no_rounding_is_left_alone(how):
    exact = [0.0, -0.0, 1.0, -1.5, 2.0**-133, 3e38 // 2**120 * 2.0**120, float("inf"), -float("inf")]
    for t in range(1, 50):
        got = written([*exact, float("nan")], t, HALF, how=how).float()
        assert got[:-1].tolist() == exact
        assert torch.signbit(got[1])
        assert got[-1].isnan()


def test_eager_and_kernels_write_the_same_bits():
    generator = torch.Generator().manual_seed(1)
    bits = torch.randint(-(2**31), 2**31, (20_000,), generator=generator).to(torch.int32)
    values = bits.view(torch.float32)  # every kind of float32: subnormals, infinities, NaN
    for t, tensor in ((1, 0), (7, 3)):
        a, *others = (written(values, t, WHOLE, tensor, how).float() for how in (eager, *KERNELS))
        for b in others:
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    assert not torch.equal(written(values, 1, WHOLE, 0)[:99].float(), written(values, 2, WHOLE, 0)[:99].float())


def test_a_running_average_that_stalls_in_bfloat16_moves_by_chance():
    # v = 0.999 v + 0.001 g^2 from v = 1 with g = 0: each step takes 1/1000, less than half of bfloat16's 1/256.
    p = torch.nn.Parameter(torch.zeros(2000))
    ends = {}
    for rounding in ("nearest", "stochastic"):
        optimizer = tw.Adam([p], lr=0.0, store=tw.Store(state=torch.bfloat16, rounding=rounding))
        p.grad = torch.full((2000,), 1.0)
        optimizer.step()
        optimizer.state[p]["exp_avg_sq"].fill_(1.0)
        p.grad = torch.zeros(2000)
        for _ in range(700):
            optimizer.step()
        ends[rounding] = optimizer.state[p]["exp_avg_sq"].float().mean().item()
    assert ends["nearest"] == 1.0
    assert ends["stochastic"] == pytest.approx(0.999**700, rel=0.01)


# ---- compensation


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_small_steps_that_narrow_parameters_lose_are_kept(engine, dtype):
    if engine.get("engine") == "triton":
        pytest.skip("its interpreter would take a minute for these steps")
    steps, lr = 1000, 1e-4
    p, q = (torch.nn.Parameter(torch.ones(3, dtype=dtype)) for _ in range(2))
    kept, lost = tw.SGD([p], lr=lr, store=tw.Store(kahan=True), **engine), tw.SGD([q], lr=lr, **engine)
    exact = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    reference = torch.optim.SGD([exact], lr=lr)
    for x, optimizer in ((p, kept), (q, lost), (exact, reference)):
        x.grad = torch.ones_like(x)
        for _ in range(steps):
            optimizer.step()
    assert torch.equal(q, torch.ones_like(q)), "1 - 1e-4 rounds to 1"
    error = (p.double() + kept.state[p]["p_compensation"].double() - exact).abs().max().item()
    unit = torch.finfo(dtype).eps / 2
    # p + c is rounded once a step, by at most unit of c, which is at most unit of p
    assert error <= steps * unit * unit
    assert (p.double() - exact).abs().max().item() <= error + unit


def test_compensation_with_chance_has_no_drift():
    # 1e-6 a step is below what p and c together resolve in bfloat16: only the chance in c keeps it.
    p = torch.nn.Parameter(torch.ones(4000, dtype=torch.bfloat16))
    optimizer = tw.SGD([p], lr=1e-6, store=tw.Store(rounding="stochastic", kahan=True))
    p.grad = torch.ones_like(p)
    for _ in range(1000):
        optimizer.step()
    end = (p.double() + optimizer.state[p]["p_compensation"].double()).mean().item()
    assert end == pytest.approx(1 - 1e-3, abs=2e-5)


def test_what_is_not_finite_stays_as_it_is_without(engine):
    for bad in (float("inf"), float("nan")):
        p, q = (torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16)) for _ in range(2))
        with_, without = tw.SGD([p], lr=1.0, store=tw.Store(kahan=True), **engine), tw.SGD([q], lr=1.0, **engine)
        for g in ([bad, 0.25], [0.0, 0.25]):
            for x, optimizer in ((p, with_), (q, without)):
                x.grad = torch.tensor(g, dtype=torch.bfloat16)
                optimizer.step()
        torch.testing.assert_close(p, q, equal_nan=True)


# ---- the state's own type


def test_float32_state_beside_bfloat16_parameters_is_the_float32_walk_of_the_state(engine):
    """The slots see the same gradients as those of a float32 model: bit for bit the same state."""
    narrow, wide = parameters(), parameters(torch.float32)
    one = tw.Adam(narrow, store=tw.Store(state=torch.float32), **engine)
    two = torch.optim.Adam(wide)
    for t in range(5):
        generator = torch.Generator().manual_seed(t)
        for p, q in zip(narrow, wide, strict=True):
            p.grad = torch.randn(p.shape, generator=generator).to(torch.bfloat16)
            q.grad = p.grad.float()
        one.step()
        two.step()
    for p, q in zip(narrow, wide, strict=True):
        assert one.state[p]["exp_avg"].dtype is torch.float32
        torch.testing.assert_close(one.state[p]["exp_avg"], two.state[q]["exp_avg"])
        torch.testing.assert_close(one.state[p]["exp_avg_sq"], two.state[q]["exp_avg_sq"])


def test_the_default_is_as_without_a_store(engine):
    a, b = parameters(), parameters()
    assert same(drive(tw.AdamW(a, **engine)), drive(tw.AdamW(b, store=tw.Store(), **engine)))


@pytest.mark.parametrize("name", [tw.optimizer(rules.find(name)).__name__ for name in rules.names()])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_the_engines_agree_to_a_rounding(name, dtype):
    """Ours differ by float32's last place at most; where a value lies on the edge, that may turn one rounding."""
    walks = {}
    for engine, settings in ENGINES.items():
        params = parameters(dtype)
        optimizer = getattr(tw, name)(params, lr=0.01, store=WHOLE, **settings)
        drive(optimizer, stop=3)
        rest = [optimizer.state[p].pop("p_compensation", torch.tensor(0.0)).double() for p in params]
        walks[engine] = [p.detach().double() + c for p, c in zip(params, rest, strict=True)]
        walks[engine] += [value.double() for p in params for value in optimizer.state[p].values()]
    assert same(walks["eager"], walks["foreach"])
    elementwise = tw.trace(rules.named(name.lower())).elementwise  # a norm's last place moves every element
    for kernels in {"cpu", "triton"} & walks.keys():
        for a, b in zip(walks["eager"], walks[kernels], strict=True):
            assert (a - b).abs().max() <= 2 * torch.finfo(torch.bfloat16).eps * a.abs().max()
            assert not elementwise or (a != b).double().mean() <= 0.1


def test_a_later_kernel_does_not_read_a_slot_that_was_rounded_on_the_way():
    """The step takes m as it was computed, whatever it is kept in: by hand, with two kernels."""

    def measured(p, g, m, *, t, lr=0.1):
        m = 0.9 * m + 0.1 * g
        return p - lr * norm(p) * m, m

    p = torch.tensor([3.0, 4.0])
    g = torch.tensor([1 + 2**-9, 1.0])
    for how in (eager, cpu):
        cell = Cell(p, g, {"m": torch.zeros(2, dtype=torch.bfloat16)}, store=tw.Store(torch.bfloat16))
        [(after, slots)] = how.step(measured, [cell], {"lr": 0.1})
        assert after.tolist() == pytest.approx([3 - 0.5 * 0.1 * (1 + 2**-9), 4 - 0.5 * 0.1], rel=2e-7)
        assert slots["m"].tolist() == [torch.tensor(0.1).bfloat16().item()] * 2


def test_threads_do_not_change_the_draws():
    ends = []
    for threads in (1, 2):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            params = parameters(shapes=((3 * cpu.ELEMENTS_PER_THREAD,), (5,)))
            ends.append(drive(tw.AdamW(params, store=WHOLE, engine="cpu"), stop=3))
        finally:
            torch.set_num_threads(before)
    assert same(*ends)


def test_complex_parameters_keep_narrow_state_as_pairs(engine):
    numbers = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    z = torch.nn.Parameter(torch.view_as_complex(numbers.clone()))
    r = torch.nn.Parameter(numbers.clone())
    for p, optimizer in ((z, tw.Adam([z], store=HALF, **engine)), (r, tw.Adam([r], store=HALF, **engine))):
        for t in range(4):
            g = torch.randn(4, 2, generator=torch.Generator().manual_seed(t))
            p.grad = torch.view_as_complex(g) if p.is_complex() else g
            optimizer.step()
        assert optimizer.state[p]["exp_avg"].dtype is torch.bfloat16
        assert optimizer.state[p]["exp_avg"].shape == (4, 2)
    torch.testing.assert_close(torch.view_as_real(z.detach()), r.detach(), rtol=0, atol=0)


def test_sparse_rows_change_and_the_others_stay(engine):
    table = torch.nn.Parameter(torch.ones(6, 3, dtype=torch.bfloat16))
    optimizer = tw.Adagrad([table], lr=0.1, store=WHOLE, **engine)
    for rows in ([1, 4], [4]):
        values = torch.ones(len(rows), 3, dtype=torch.bfloat16)
        table.grad = torch.sparse_coo_tensor(torch.tensor([rows]), values, (6, 3))
        optimizer.step()
    sums = optimizer.state[table]["sum"].float()
    assert sums[:, 0].tolist() == [0, 1, 0, 0, 2, 0]
    whole = table.double() + optimizer.state[table]["p_compensation"].double()
    wanted = torch.tensor([1, 0.9, 1, 1, 0.9 - 0.1 / 2**0.5, 1], dtype=torch.float64)
    torch.testing.assert_close(whole[:, 0], wanted, rtol=0, atol=1e-4)


def test_empty_maximize_and_groups_that_come_later(engine):
    params = parameters(shapes=((0,), (3,)))
    up = tw.AdamW(params, store=WHOLE, maximize=True, weight_decay=0.0, **engine)
    later = parameters(shapes=((2, 2),))
    up.add_param_group({"params": later})
    before = params[1].detach().clone()
    for p in (*params, *later):
        p.grad = torch.ones_like(p)
    up.step()
    assert (params[1].float() + up.state[params[1]]["p_compensation"].float() > before.float()).all()
    assert up.state[later[0]]["exp_avg"].dtype is torch.bfloat16


def test_a_users_rule_with_an_anchor():
    def anchored(p, g, home=Slot(start="p"), *, t, lr=0.1):
        return p - lr * (g + 0.1 * (p - home)), home

    p = torch.nn.Parameter(torch.full((3,), 1.003))
    optimizer = tw.optimizer(anchored)([p], store=tw.Store(state=torch.bfloat16))
    p.grad = torch.zeros(3)
    optimizer.step()
    assert optimizer.state[p]["home"].dtype is torch.bfloat16
    assert optimizer.state[p]["home"].tolist() == [1.0] * 3


# ---- saving and loading


@pytest.mark.parametrize("name", ["AdamW", "SGD", "NAdam", "RMSprop"])
def test_saved_loaded_and_continued_exactly(engine, name):
    settings = {"lr": 0.01, "store": WHOLE, **({"momentum": 0.9} if name == "SGD" else {}), **engine}
    whole = drive(getattr(tw, name)(parameters(), **settings))
    params = parameters()
    first = getattr(tw, name)(params, **settings)
    drive(first, stop=3)
    again = getattr(tw, name)(params, **settings)
    again.load_state_dict(copy.deepcopy(first.state_dict()))
    assert same(drive(again, 3), whole)
    copied = pickle.loads(pickle.dumps(again))
    assert copied.store == WHOLE


def test_what_draws_keeps_a_count_and_another_seed_walks_another_way():
    """torch's SGD keeps no step number; the bits come from it, so here it is kept (and saved)."""
    walks = []
    for seed in (5, 5, 6):
        params = parameters()
        optimizer = tw.SGD(params, lr=0.01, store=tw.Store(rounding="stochastic", seed=seed))
        drive(optimizer, stop=2)
        walks.append([p.detach() for p in params])
        assert [int(state["step"]) for state in optimizer.state_dict()["state"].values()] == [2, 2, 2]
    assert same(walks[0], walks[1])
    assert not same(walks[0], walks[2])


def test_torchs_checkpoint_is_loaded_into_the_stores_types():
    params, mine = parameters(torch.float32), parameters(torch.float32)
    theirs = torch.optim.AdamW(params)
    drive(theirs)
    ours = tw.AdamW(mine, store=tw.Store(state=torch.bfloat16))
    ours.load_state_dict(theirs.state_dict())
    for p, q in zip(params, mine, strict=True):
        assert ours.state[q]["exp_avg"].dtype is torch.bfloat16
        assert torch.equal(ours.state[q]["exp_avg"], theirs.state[p]["exp_avg"].bfloat16())
        assert ours.state[q]["step"].dtype is torch.float32


def test_torchs_sgd_without_a_count_does_not_begin_again():
    """A loaded momentum is kept: by torch's convention only the first step sets it to the gradient."""
    p, q = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    theirs = torch.optim.SGD([p], lr=0.1, momentum=0.5)
    p.grad = torch.ones(2)
    theirs.step()
    ours = tw.SGD([q], lr=0.1, momentum=0.5, store=tw.Store(rounding="stochastic"))
    ours.load_state_dict(theirs.state_dict())
    q.grad = torch.ones(2)
    ours.step()
    assert ours.state[q]["momentum_buffer"].tolist() == [1.5, 1.5]


def test_without_kahan_a_saved_compensation_is_not_carried_along():
    params = parameters()
    first = tw.SGD(params, lr=0.01, store=tw.Store(kahan=True))
    drive(first, stop=2)
    plain = tw.SGD(params, lr=0.01)
    plain.load_state_dict(first.state_dict())
    assert all("p_compensation" not in plain.state[p] for p in params)


# ---- refusals


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda p: tw.Store(state=torch.float16), ValueError, r"state is torch.float16; it must be torch.float32, t"),
        (lambda p: tw.Store(rounding="stochastik"), ValueError, r"rounding is 'stochastik'.*Did you mean 'stochastic'"),
        (lambda p: tw.Store(kahan=1), ValueError, r"kahan is 1; it must be one of False, True"),
        (lambda p: tw.Store(seed=0.5), TypeError, r"seed is 0.5; it must be an integer"),
        (lambda p: tw.SGD([p], store="bfloat16"), TypeError, r"store is 'bfloat16'; it must be a thalweg.Store"),
        (lambda p: tw.SGD([p], stor=HALF), TypeError, r"no argument 'stor'. Did you mean 'store'"),
        (lambda p: tw.SGD([p], store=WHOLE, differentiable=True), ValueError, r"differentiable is True; it must be"),
        (lambda p: tw.SGD([{"params": p, "store": HALF}]), TypeError, r"no setting 'store'"),
        (lambda p: tw.SGD([p.half()], store=HALF), ValueError, r"must be 'nearest' beside float16 parameters"),
    ],
)
def test_refusals_name_the_argument(make, error, words):
    with pytest.raises(error, match=words):
        make(torch.ones(2))


def test_a_wide_state_may_be_differentiated():
    p = torch.ones(2)
    lr = torch.tensor(0.1, requires_grad=True)
    optimizer = tw.SGD([p], lr=lr, momentum=0.9, differentiable=True, store=tw.Store(state=torch.float32))
    p.grad = torch.ones(2)
    optimizer.step()
    p.sum().backward()
    assert lr.grad.item() == -2
