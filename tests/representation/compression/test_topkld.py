from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from representation.compression.topkld import (
    FakeQuantizedLinear,
    FloatFormat,
    IntFormat,
    QuantizedLinear,
    dequantize,
    distill,
    fake_quantize,
    fit_scaling,
    format_named,
    forward_kld,
    gptq,
    gptq_by_hessian,
    linear_maps,
    model_bits,
    noisy_inputs,
    observe_inputs,
    pack,
    packed,
    quantize,
    reverse_kld,
    smooth,
    topkld,
    unpack,
)
from representation.compression.topkld.fake_quantization import learned_round, passed_round
from representation.compression.topkld.quantizer import decoded

NAMES = ("int8", "int4", "int3", "int2", "int4z", "int4t", "int4g32", "int3g50", "e2m1", "e3m0", "e4m3", "e5m2g16")


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def network(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 5, bias=False)).eval()


@pytest.mark.parametrize("name", NAMES)
def test_a_format_keeps_its_name_and_rounds_to_the_nearest_of_its_numbers(name):
    format, w = format_named(name), normal(6, 100)
    assert format.name == name
    q = quantize(w, format)
    found = dequantize(q)
    # Rounding once more changes nothing: what was found are numbers of the format.
    scale = q.scale if format.group is None else q.scale.repeat_interleave(format.group, 1)[:, :100]
    if isinstance(format, IntFormat):
        assert ((found - w).abs() <= scale / 2 * 1.0001).all()
        zero = 0 if q.zero is None else q.zero.float()
        whole = found / scale + zero
        torch.testing.assert_close(whole, whole.round(), atol=1e-4, rtol=0)
    else:
        numbers = format.magnitudes()
        numbers = torch.cat([-numbers, numbers])
        nearest = (w[..., None] - scale[..., None] * numbers).abs().amin(-1)
        torch.testing.assert_close((found - w).abs(), nearest, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(3, 1), (7, 5), (5, 24)])
def test_codes_read_several_at_once_are_what_they_are_one_by_one(name, shape):
    q = quantize(normal(*shape), format_named(name))
    codes = unpack(q.codes, shape[0] * shape[1], q.format.bits).view(shape)
    assert torch.equal(dequantize(q), decoded(codes, q.scale, q.zero, q.format))


def test_eight_bits_change_normal_weights_by_less_than_a_hundredth():
    w = normal(64, 256)
    assert (dequantize(quantize(w, IntFormat(8))) - w).norm() / w.norm() < 0.01


def test_small_floating_point_numbers_are_those_of_their_tables():
    assert FloatFormat(2, 1).magnitudes().tolist() == [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    assert FloatFormat(3, 0).magnitudes().tolist() == [0, 0.25, 0.5, 1, 2, 4, 8, 16]
    assert FloatFormat(4, 3).magnitudes()[-1] == 448
    assert FloatFormat(5, 2).magnitudes()[-1] == 57344
    assert FloatFormat(4, 3).magnitudes()[1] == 2**-9
    w = torch.tensor([[6.0, -3.1, 0.24, 0.26, -5.1]])
    assert dequantize(quantize(w, FloatFormat(2, 1))).tolist() == [[6.0, -3.0, 0.0, 0.5, -6.0]]


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("count", [1, 8, 101])
def test_codes_come_back_from_their_bytes(bits, count):
    codes = torch.randint(2**bits, (count,), generator=torch.Generator().manual_seed(bits)).to(torch.uint8)
    bytes_ = pack(codes, bits)
    assert len(bytes_) == math.ceil(count / 8) * bits
    assert torch.equal(unpack(bytes_, count, bits), codes)
    with pytest.raises(ValueError, match=f"codes: expected {len(bytes_)} bytes"):
        unpack(bytes_[1:], count, bits)


def test_a_row_of_zeros_stays_zero_and_wrong_weights_are_refused():
    assert not dequantize(quantize(torch.zeros(2, 8), IntFormat(4, symmetric=False))).any()
    with pytest.raises(ValueError, match="weights: expected a finite matrix"):
        quantize(torch.full((2, 2), math.nan), IntFormat(4))
    with pytest.raises(ValueError, match="weights: expected a finite matrix"):
        quantize(torch.zeros(3), IntFormat(4))
    for wrong in (lambda: IntFormat(5), lambda: FloatFormat(2, 2), lambda: IntFormat(4, group=0)):
        with pytest.raises(ValueError, match="expected"):
            wrong()
    for name in ("int7", "e2m2", "4bit", "int4g0"):
        with pytest.raises(ValueError, match="expected"):
            format_named(name)


def test_gradients_pass_the_rounding_inside_of_the_range_and_not_outside():
    w = normal(3, 8).requires_grad_()
    passed_round(w, IntFormat(3)).sum().backward()
    assert torch.equal(w.grad, torch.ones_like(w))
    format, step = IntFormat(3), torch.full((3, 1), 0.3, requires_grad=True)
    w = normal(3, 8, seed=1).requires_grad_()
    learned_round(w, step, format).sum().backward()
    inside = (w / step >= format.lowest) & (w / step <= format.highest)
    assert inside.any()
    assert not inside.all()
    assert torch.equal(w.grad, inside.float())


def test_the_gradient_of_a_learned_step_is_that_of_its_smooth_surrogate():
    # With the rounding of each number held fixed, the rounded number is a linear function of the step.
    format, w = IntFormat(3), normal(4, 8, dtype=torch.float64)
    step = torch.full((4, 1), 0.4, dtype=torch.float64, requires_grad=True)
    learned_round(w, step, format).square().sum().backward()
    scaled = w / step.detach()
    fixed = (scaled.clamp(-4, 3).round() - scaled.clamp(-4, 3)).detach()

    def surrogate(s):
        return (((w / s).clamp(-4, 3) + fixed) * s).square().sum(1)

    change = 1e-6
    numeric = (surrogate(step.detach() + change) - surrogate(step.detach() - change)) / (2 * change)
    scale = (8 * format.highest) ** -0.5
    torch.testing.assert_close(step.grad[:, 0], scale * numeric, atol=1e-6, rtol=1e-6)


def correlated_inputs(seed):
    deviations = torch.logspace(0, -1, 128, dtype=torch.float64)
    rotation = torch.linalg.qr(normal(128, 128, seed=seed, dtype=torch.float64))[0]
    return (normal(2048, 128, seed=seed + 1, dtype=torch.float64) * deviations @ rotation).float()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gptq_changes_outputs_less_than_rounding_to_the_nearest(seed):
    linear, x = nn.Linear(128, 64, bias=False), correlated_inputs(10 * seed)
    linear.weight = nn.Parameter(normal(64, 128, seed=seed))
    format = IntFormat(3)
    whole = x @ linear.weight.T
    plain, calibrated = (
        float((x @ dequantize(q).T - whole).square().mean())
        for q in (quantize(linear.weight, format), gptq(linear, x, format))
    )
    assert calibrated <= 0.6 * plain


def test_gptq_of_independent_inputs_is_rounding_to_the_nearest():
    linear = nn.Linear(16, 4)
    for name in ("int4", "int3g5", "e2m1", "int4z"):
        format = format_named(name)
        found, nearest = gptq_by_hessian(linear, torch.eye(16), format), quantize(linear.weight, format)
        assert torch.equal(found.codes, nearest.codes)
    with pytest.raises(ValueError, match="x: expected finite inputs of width 16"):
        gptq(linear, torch.zeros(3, 15), IntFormat(4))


def test_smoothing_changes_no_output_and_evens_out_the_inputs():
    linear, x = network()[0].double(), normal(50, 16, dtype=torch.float64)
    x[:, 3] *= 100
    result, factors = smooth(linear, x)
    torch.testing.assert_close(result(x / factors), linear(x), atol=1e-5, rtol=0)
    largest = (x / factors).abs().amax(0)
    assert largest.max() / largest.min() < 0.2 * x.abs().amax(0).max() / x.abs().amax(0).min()
    with pytest.raises(ValueError, match="expected width 16"):
        smooth(linear, x[:, 1:])


def test_inputs_of_maps_are_observed_while_something_runs():
    model, x = network(), normal(20, 16)
    seen = observe_inputs(linear_maps(model), lambda: (model(x[:10]), model(x[10:])))
    torch.testing.assert_close(seen["0"].hessian, 2 * x.T @ x, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(seen["0"].largest, x.abs().amax(0))
    assert seen["2"].largest.min() >= 0
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("variant", ["generalized", "swapped"])
def test_topkld_is_not_negative_and_has_no_gradient_where_student_and_teacher_agree(variant):
    student, teacher = (normal(1000, 12, seed=seed, dtype=torch.float64) for seed in (0, 1))
    losses = [topkld(s, t, 4, variant) for s, t in zip(student, teacher, strict=True)]
    assert min(losses) >= 0
    same = teacher.clone().requires_grad_()
    loss = topkld(same, teacher, 4, variant)
    loss.backward()
    assert abs(float(loss)) < 1e-10
    assert same.grad.abs().max() < 1e-10


def test_topkld_of_all_classes_is_the_reverse_and_of_none_the_forward_divergence():
    student, teacher = (normal(7, 12, seed=seed, dtype=torch.float64) for seed in (0, 1))
    assert float(topkld(student, teacher, 12)) == pytest.approx(float(reverse_kld(student, teacher)), abs=1e-10)
    assert float(topkld(student, teacher, 0)) == pytest.approx(float(forward_kld(student, teacher)), abs=1e-10)
    p, q = teacher.softmax(-1), student.softmax(-1)
    assert float(forward_kld(student, teacher)) == pytest.approx(float((p * (p / q).log()).sum(-1).mean()), abs=1e-10)


def test_topkld_equals_its_definition():
    student, teacher = torch.tensor([[0.0, 1.0, -1.0]]), torch.tensor([[2.0, 0.0, 1.0]])
    p, q = teacher.softmax(-1)[0], student.softmax(-1)[0]
    reverse, forward = q * (q / p).log(), p * (p / q).log()
    naive = reverse[0] + forward[1] + forward[2]
    whole = naive - q[0] + p[0] - p[1] + q[1] - p[2] + q[2]
    swapped = forward[0] - p[0] + q[0] + (reverse - q + p)[1:].sum()
    for variant, expected in (("naive", naive), ("generalized", whole), ("swapped", swapped)):
        torch.testing.assert_close(topkld(student, teacher, 1, variant), expected)


def test_the_naive_sum_pulls_a_perfect_student_away():
    teacher = normal(5, 12, dtype=torch.float64)
    student = teacher.clone().requires_grad_()
    topkld(student, teacher, 4, "naive").backward()
    assert student.grad.norm() > 1e-2


def test_topkld_minds_neither_constants_nor_ties_nor_masked_classes():
    student, teacher = normal(5, 12, seed=1), normal(5, 12)
    assert float(topkld(student + 3, teacher - 2, 4)) == pytest.approx(float(topkld(student, teacher, 4)), abs=1e-5)
    equal = torch.zeros(1, 6)
    first = topkld(torch.arange(6.0)[None], equal, 3)
    assert float(first) == float(topkld(torch.arange(6.0)[None], equal.clone(), 3))
    assert float(first) != float(topkld(torch.arange(6.0).flip(0)[None], equal, 3))
    student[:, :3] = teacher[:, :3] = -math.inf
    student.requires_grad_()
    loss = topkld(student, teacher, 4)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()
    with pytest.raises(ValueError, match="k in"):
        topkld(student, teacher, 13)


def test_only_positions_of_the_mask_count():
    student, teacher = normal(4, 3, 12, seed=1), normal(4, 3, 12)
    mask = torch.zeros(4, 3, dtype=torch.bool)
    mask[1, 2] = mask[3, 0] = True
    for loss in (forward_kld, reverse_kld, lambda s, t, mask=None: topkld(s, t, 4, mask=mask)):
        expected = loss(torch.stack([student[1, 2], student[3, 0]]), torch.stack([teacher[1, 2], teacher[3, 0]]))
        assert float(loss(student, teacher, mask=mask)) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("activations", [None, IntFormat(8)])
def test_a_packed_module_computes_what_its_rounded_student_does(activations):
    model, x = network(), normal(9, 16)
    student = fake_quantize(model, IntFormat(4, group=8), activations)
    parts = {name: part for name, part in student.named_modules() if isinstance(part, FakeQuantizedLinear)}
    assert sorted(parts) == ["0", "2"]
    result = packed(student, {name: part.quantized for name, part in parts.items()}, activations)
    torch.testing.assert_close(result(x), student(x))
    assert (result(x) - model(x)).abs().max() > 1e-3
    assert isinstance(result[0], QuantizedLinear)
    assert torch.equal(result.double()[0].scale, parts["0"].quantized.scale)  # not rounded by a change of format
    with pytest.raises(ValueError, match="0: expected shape"):
        packed(model, {"0": quantize(torch.zeros(3, 3), IntFormat(4))})
    with pytest.raises(ValueError, match="1: expected a linear map, found ReLU"):
        packed(model, {"1": quantize(torch.zeros(3, 3), IntFormat(4))})


def test_maps_with_some_words_in_their_names_stay_whole():
    model = nn.ModuleDict({"token_embed": nn.Linear(2, 2), "body": nn.Linear(2, 2), "lm_head": nn.Linear(2, 2)})
    assert list(linear_maps(model)) == ["body"]
    with pytest.raises(ValueError, match="expected linear maps outside"):
        fake_quantize(model, IntFormat(4), skip=("embed", "body", "head"))


def test_all_bits_are_counted():
    model = network()
    result = packed(model, {"0": quantize(model[0].weight, IntFormat(3, group=8))})
    # 32 x 16 codes, two scales a row; the bias and the other map are whole.
    assert model_bits(result) == 32 * 16 * 3 + 32 * 2 * 32 + 16 * (32 + 32 * 5)
    assert model_bits(model) == 16 * (32 * 16 + 32 + 32 * 5)
    smoothed = packed(model, {"0": quantize(model[0].weight, IntFormat(3, group=8))}, smoothing={"0": torch.ones(16)})
    assert model_bits(smoothed) == model_bits(result) + 32 * 16


def test_the_scaling_law_is_the_line_through_the_points():
    law = fit_scaling([10, 100, 1000], [5.0, 3.0, 1.0])
    assert law == pytest.approx((7.0, -2.0, 1.0))
    with pytest.raises(ValueError, match="bits: expected two different"):
        fit_scaling([10, 10], [1.0, 2.0])


@pytest.mark.parametrize("learned", [False, True])
def test_a_student_learns_to_answer_like_its_teacher(learned):
    teacher = network()
    batches = [normal(64, 16, seed=seed) for seed in range(80)]
    x = normal(500, 16, seed=1000)
    student = fake_quantize(teacher, IntFormat(2), learned_step=learned)
    before = float(forward_kld(student(x), teacher(x)))
    losses = distill(student, teacher, batches, lambda s, t, _: topkld(s, t, 2), lr=1e-2, steps=80)
    assert len(losses) == 80
    assert float(forward_kld(student(x), teacher(x))) < 0.5 * before
    with pytest.raises(ValueError, match="batches: expected 81, found 80"):
        distill(student, teacher, batches, lambda s, t, _: topkld(s, t, 2), steps=81)


def test_steps_are_learned_of_symmetric_integers_alone():
    with pytest.raises(ValueError, match="learned_step: expected a symmetric format"):
        fake_quantize(network(), FloatFormat(2, 1), learned_step=True)


def test_noise_in_inputs_has_its_size_by_token_and_ends():
    linear, x = torch.nn.Linear(400, 400, bias=False), torch.randn(200, 400, generator=torch.Generator().manual_seed(0))
    torch.nn.init.eye_(linear.weight)
    x[0] *= 100
    with torch.no_grad():
        with noisy_inputs([linear], 0.1, torch.Generator().manual_seed(1)):
            noise = linear(x) - x
            assert not torch.equal(linear(x) - x, noise)
        assert torch.equal(linear(x), x)
    sizes = noise.square().mean(1).sqrt() / x.square().mean(1).sqrt()
    torch.testing.assert_close(sizes, torch.full((200,), 0.1), atol=0.02, rtol=0)
    with pytest.raises(ValueError, match="size: expected at least 0, found -1"), noisy_inputs([linear], -1, None):
        pass
