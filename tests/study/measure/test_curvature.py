"""Every curvature against a matrix written out by brute force, on small networks in float64."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import a2sg
import reference
from a2sg.analysis import (
    Objective,
    double_backward_hessian,
    empirical_fisher,
    gauss_newton,
    grad_norm_sq,
    over_batches,
    surrogate_field_jacobian,
)
from a2sg.errors import InputError
from a2sg.study.measure.estimators import Estimates
from a2sg.study.measure.gram import gram
from a2sg.study.measure.operators import (
    Operator,
    SquaresFamily,
    gauss_newton_of,
    hessian_of,
    opened,
    transposed_field_of,
)
from a2sg.training.losses import LOSSES
from networks import Net, Plan, batch

CASES = [
    Plan("lif", "asymmetric", steps=1),
    Plan("lif", "triangle", steps=2, reset="hard"),
    Plan("lif", "arctan", steps=3, detach=True),
    Plan("plif", "sigmoid-unit", steps=3, order="scaled"),
    Plan("integer", "triangle", steps=2, window=0.4),
    Plan("lif", "boxcar", steps=2, conv=True, threshold=0.7),
    Plan("plif", "fast", steps=2, reset="hard", conv=True),
    Plan("integer", "asymmetric", steps=1, window=0.5, conv=True),
]
every_case = pytest.mark.parametrize("plan", CASES, ids=str)


def objective_of(plan, size=5, **options):
    return Objective(Net(plan), batch(plan.steps, size), F.cross_entropy, **options)


def plain(objective):
    """Outputs `[N, K]` as a function of all parameters in one vector, by tests/support/reference.py."""
    net, x = objective.model, objective.inputs
    sizes = [p.numel() for p in objective.parameters]

    def run(vector, x=x):
        parts = vector.split(sizes)
        p = {
            n: part.view_as(q)
            for n, part, q in zip(objective.names, parts, objective.parameters, strict=True)
        }
        value = x
        for layer, neuron in enumerate(net.neurons):
            w, b = p[f"linears.{layer}.weight"], p[f"linears.{layer}.bias"]
            if w.dim() == 4:
                maps = value.flatten(0, 1).unflatten(-1, (1, 3, 3))
                current = F.conv2d(maps, w, b, padding=1).unflatten(0, value.shape[:2])
            else:
                current = F.linear(value.flatten(2), w, b)
            twin = net.plan.reference()
            if net.plan.kind == "plif":
                twin = replace(twin, decay=torch.sigmoid(p[f"neurons.{layer}.raw_decay"]))
            value = reference.run(twin, current, neuron.window.double()).spikes
            value = value / 4 if net.plan.kind == "integer" else value
        return F.linear(value.flatten(2), p["out.weight"], p["out.bias"]).mean(0)

    return run, torch.cat([p.detach().flatten() for p in objective.parameters])


def dense_gauss_newton(objective):
    run, at = plain(objective)
    jacobian = torch.autograd.functional.jacobian(run, at)
    p = run(at).detach().softmax(-1)
    softmax_hessian = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    return torch.einsum("nkp,nkl,nlq->pq", jacobian, softmax_hessian, jacobian) / len(p)


def dense_hessian(objective):
    run, at = plain(objective)
    return torch.autograd.functional.hessian(lambda v: F.cross_entropy(run(v), objective.labels), at)


def per_sample_gradients(objective):
    run, at = plain(objective)
    rows = []
    for n, label in enumerate(objective.labels):
        leaf = at.clone().requires_grad_()
        loss = F.cross_entropy(run(leaf, objective.inputs[:, n : n + 1]), label[None])
        rows.append(torch.autograd.grad(loss, leaf)[0])
    return torch.stack(rows)


def places(objective, layer=None):
    """Which entries of the vector belong to a layer."""
    owner = {at: name for name, block in objective.layers.items() for at in block}
    marks = [
        torch.full((p.numel(),), layer is None or owner[at] == layer)
        for at, p in enumerate(objective.parameters)
    ]
    return torch.cat(marks).nonzero().flatten()


def check_symmetric(found, matrix, objective, top):
    for name, spectrum in {None: found.whole, **found.layers}.items():
        at = places(objective, name)
        block = matrix[at][:, at]
        values = torch.linalg.eigvalsh(block).flip(0)
        assert spectrum.parameters == len(at)
        close(spectrum.top, values[:top])
        if spectrum.bottom:
            close(spectrum.bottom, values.flip(0)[:top])
        if spectrum.trace_error == 0:
            close(spectrum.trace, block.trace())
        else:
            assert abs(spectrum.trace - block.trace()) <= 5 * spectrum.trace_error
    assert set(found.layers) == set(objective.layers)
    assert found.samples == len(objective)
    run, vector = plain(objective)
    close(found.loss, F.cross_entropy(run(vector), objective.labels))


def close(mine, expected, tolerance=1e-7):
    torch.testing.assert_close(
        torch.as_tensor(mine, dtype=torch.float64),
        torch.as_tensor(expected, dtype=torch.float64),
        rtol=tolerance,
        atol=1e-9,
    )


@every_case
def test_empirical_fisher(plan):
    objective = objective_of(plan)
    rows = per_sample_gradients(objective)
    assert (rows.norm(dim=1) > 0).all()
    found = empirical_fisher(objective, top=3)
    check_symmetric(found, rows.T @ rows / len(rows), objective, top=3)
    # Room for two gradients at a time: the others are computed again.
    size = 8 * sum(p.numel() for p in objective.parameters)
    again = empirical_fisher(objective, top=3, memory=2.5 * size / 2**30)
    close(again.whole.top, found.whole.top)
    close(again.layers["out"].top, found.layers["out"].top)


@every_case
def test_grad_norm_sq_is_not_the_fisher(plan):
    objective = objective_of(plan)
    mean = per_sample_gradients(objective).mean(0)
    found = grad_norm_sq(replaced(objective, chunk=2))
    close(found.whole, mean @ mean)
    for layer, square in found.layers.items():
        part = mean[places(objective, layer)]
        close(square, part @ part)
    assert found.whole <= empirical_fisher(objective).whole.top[0] * (1 + 1e-9)


def replaced(objective, **options):
    return Objective(objective.model, (objective.inputs, objective.labels), objective.loss, **options)


@every_case
@pytest.mark.parametrize("method", ["lanczos", "gram"])
def test_gauss_newton(plan, method):
    objective = objective_of(plan)
    matrix = dense_gauss_newton(objective)
    found = gauss_newton(objective, top=3, method=method, tolerance=1e-10)
    check_symmetric(found, matrix, objective, top=3)


def test_chunks_weigh_by_what_their_labels_count():
    """With class weights, the mean over the batch is not that of the chunks' means by their sizes."""
    net = a2sg.create_model(
        "mlp_small", num_classes=3, steps=2, in_channels=1, image_size=3, hidden=(5,)
    ).double()
    images, labels = torch.randn(5, 1, 3, 3, dtype=torch.float64), torch.tensor([0, 0, 1, 2, 0])
    loss = LOSSES["mean"](class_weights=(1.0, 5.0, 20.0))
    whole, parts = (Objective(net, (images, labels), loss, chunk=chunk) for chunk in (None, 2))
    with whole.ready():
        assert parts.value() == pytest.approx(whole.value())
    assert grad_norm_sq(parts).whole == pytest.approx(grad_norm_sq(whole).whole)
    tops = [gauss_newton(one, layers=(), probes=0).whole.top[0] for one in (whole, parts)]
    assert tops[0] == pytest.approx(tops[1], rel=1e-3)


@every_case
def test_double_backward_hessian(plan):
    objective = objective_of(plan)
    matrix = dense_hessian(objective)
    close(matrix, matrix.T)
    found = double_backward_hessian(objective, top=2, tolerance=1e-10)
    check_symmetric(found, matrix, objective, top=2)


@every_case
@pytest.mark.parametrize("build", [gauss_newton_of, hessian_of])
def test_products_make_up_the_dense_matrix(plan, build):
    """Whole, and chunk by chunk."""
    objective = objective_of(plan)
    matrix = (dense_gauss_newton if build is gauss_newton_of else dense_hessian)(objective)
    for given in (objective, replaced(objective, chunk=2)):
        with opened(given, build) as opened_matrix:
            operator = opened_matrix.block(range(len(given.parameters)))
            vectors = torch.randn(operator.size, 4, dtype=torch.float64)
            close(torch.stack([operator @ v for v in vectors.T], 1), matrix @ vectors)
            assert opened_matrix.products == 4


@every_case
def test_a_sum_of_squares_is_an_operator_as_any_other(plan):
    """By its products it is the matrix whose trace and eigenvalues its scalar products give."""
    objective = objective_of(plan)
    vectors = [[torch.randn_like(p) for p in objective.parameters] for _ in range(3)]
    rows = torch.stack([torch.cat([part.flatten() for part in vector]) for vector in vectors]).detach()
    grams = gram(vectors.__getitem__, 3, objective.layers, memory=1e9)
    operator = SquaresFamily(objective, vectors.__getitem__, grams).block(range(len(objective.parameters)))
    matrix = rows.T @ rows / len(objective)
    close(operator.dense(), matrix)
    close(torch.tensor(Estimates(probes=0).trace(operator)), torch.stack([matrix.trace(), torch.zeros(())]))
    close(torch.tensor(Estimates(3).largest(operator)), torch.linalg.eigvalsh(matrix)[-3:].flip(0))
    close(operator.shifted(2.0).dense(), matrix + 2 * torch.eye(operator.size))


def surrogate_gradient(objective, vector):
    """Of the training neurons, at other weights; and the spikes there."""
    torch.nn.utils.vector_to_parameters(vector, objective.parameters)
    with a2sg.neuron.recording(objective.model) as records:
        value = objective.of_output(objective.output(range(len(objective))), range(len(objective)))
        gradient = torch.cat([g.flatten() for g in objective.gradient_of(value)])
    return gradient, [record.spikes for each in records.values() for record in each]


def finite_difference(objective, direction, step=1e-6):
    """Of the surrogate gradient, along a direction; no spike may flip."""
    at = torch.cat([p.detach().flatten() for p in objective.parameters])
    (high, spikes), (low, others) = (
        surrogate_gradient(objective, at + sign * step * direction) for sign in (1, -1)
    )
    torch.nn.utils.vector_to_parameters(at, objective.parameters)
    assert all(torch.equal(a, b) for a, b in zip(spikes, others, strict=True))
    return (high - low) / (2 * step)


@every_case
def test_field_jacobian_is_the_change_of_the_surrogate_gradient(plan):
    objective = objective_of(plan)
    generator = torch.Generator().manual_seed(0)
    with opened(objective, transposed_field_of) as matrix:
        operator = matrix.block(range(len(objective.parameters)))
        directions = torch.randn(3, operator.size, dtype=torch.float64, generator=generator)
        pulled = [operator @ w for w in directions]
    differences = []
    for v in directions:
        change = finite_difference(objective, v)
        for w, transposed in zip(directions, pulled, strict=True):
            close(w @ change, transposed @ v, tolerance=1e-5)
            differences.append(w @ change)
    assert max(abs(d) for d in differences) > 1e-3
    asymmetric = [abs(differences[3 * i + j] - differences[3 * j + i]) for i in range(3) for j in range(i)]
    assert max(asymmetric) > 1e-4


@pytest.mark.parametrize("plan", [CASES[1], CASES[6]], ids=str)
def test_spectrum_trace_and_asymmetry_of_the_field(plan):
    objective = objective_of(plan)
    size = len(places(objective))
    unit = torch.eye(size, dtype=torch.float64)
    matrix = torch.stack([finite_difference(objective, e) for e in unit], 1)
    found = surrogate_field_jacobian(objective, top=3, probes=60, tolerance=1e-10)
    for name, spectrum in {None: found.whole, **found.layers}.items():
        at = places(objective, name)
        block = matrix[at][:, at]
        values = torch.linalg.eigvals(block)
        order = values.abs().argsort(descending=True)
        moduli = torch.tensor([abs(complex(*pair)) for pair in spectrum.top])
        close(moduli, values.abs()[order][:3], tolerance=1e-4)
        for pair in spectrum.top:  # each is an eigenvalue
            assert (values - complex(*pair)).abs().min() <= 1e-5 * (1 + abs(complex(*pair)))
        share = (block - block.T).square().sum() / (4 * block.square().sum())
        assert abs(spectrum.trace - block.trace()) <= 5 * spectrum.trace_error + 1e-5
        if spectrum.asymmetry is not None:
            assert abs(spectrum.asymmetry - share) <= 5 * spectrum.asymmetry_error + 1e-5
    assert found.whole.asymmetry > 0.01


def test_field_and_hessian_agree_where_there_is_one_layer_and_one_step():
    """Loss of a read-out weight and one neuron: no gradient goes through a spike twice."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), a2sg.LIF(1, surrogate=a2sg.surrogate.Arctan())).double()
    objective = Objective(net, batch_of(3), lambda out, y: (out.mean(0).sum(-1) * y.double()).mean())
    a, b = double_backward_hessian(objective), surrogate_field_jacobian(objective)
    close(b.whole.top[0], [max([*a.whole.top, *a.whole.bottom], key=abs), 0.0])
    assert b.whole.asymmetry < 1e-20


def batch_of(features, size=6):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, size, features, dtype=torch.float64, generator=generator)
    return x, torch.arange(size) % 3


def test_a_relu_network_of_torch_alone():
    """First gradients are enough for these: against autograd's own matrices."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    x, y = torch.randn(7, 4, dtype=torch.float64), torch.arange(7) % 3
    objective = Objective(net, (x, y), F.cross_entropy)
    names = [n for n, _ in net.named_parameters()]

    def outputs(*parameters):
        return torch.func.functional_call(net, dict(zip(names, parameters, strict=True)), (x,))

    parts = torch.autograd.functional.jacobian(outputs, tuple(net.parameters()))
    jacobian = torch.cat([part.flatten(2) for part in parts], 2)
    p = net(x).detach().softmax(-1)
    bend = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    matrix = torch.einsum("nkp,nkl,nlq->pq", jacobian, bend, jacobian) / 7
    found = gauss_newton(objective, top=4, method="gram")
    close(found.whole.top, torch.linalg.eigvalsh(matrix).flip(0)[:4])
    close(found.whole.trace, matrix.trace())
    rows = torch.einsum("nkp,nk->np", jacobian, p - F.one_hot(y, 3))
    close(empirical_fisher(objective).whole.trace, rows.square().sum() / 7)
    close(grad_norm_sq(objective).whole, rows.mean(0).square().sum())
    for function in (gauss_newton, double_backward_hessian, surrogate_field_jacobian):
        with pytest.raises(InputError, match="no neurons of a2sg"):
            function(objective)


class Stateful(nn.Module):
    """As other libraries have them: one step a call, and a state that must be reset."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.potential = 0.0

    def forward(self, x):
        self.potential = self.potential * 0.5 + self.layer(x)
        return self.potential


def test_forward_says_how_another_library_is_called():
    torch.manual_seed(0)
    net = Stateful().double()
    x, y = torch.randn(2, 5, 4, dtype=torch.float64), torch.arange(5) % 3

    def run(model, frames):
        model.potential = 0.0
        return [model(frame) for frame in frames][-1]

    objective = Objective(net, (x, y), F.cross_entropy, forward=run)
    twin = nn.Linear(4, 3).double()
    twin.load_state_dict(net.layer.state_dict())

    def leaked(model, frames):
        return 0.5 * model(frames[0]) + model(frames[1])

    other = Objective(twin, (x, y), F.cross_entropy, forward=leaked)
    close(empirical_fisher(objective, top=4).whole.top, empirical_fisher(other, top=4).whole.top)
    close(
        gauss_newton(objective.subset([0, 3]), method="gram").whole.trace,
        gauss_newton(other.subset([0, 3]), method="gram").whole.trace,
    )


@pytest.mark.parametrize("loss", [name for name, kind in LOSSES.items() if "classification" in kind.tasks])
def test_a_network_of_ours_with_batch_norm_and_any_loss(loss):
    """Lanczos and the Gram matrix know nothing of each other."""
    torch.manual_seed(0)
    net = a2sg.create_model("mlp_small", num_classes=3, steps=2, in_channels=1, image_size=4, hidden=(8, 6))
    net = net.double()
    images, labels = torch.randn(9, 1, 4, 4, dtype=torch.float64), torch.arange(9) % 3
    net(images)  # statistics that are not the initial ones
    state = {name: value.clone() for name, value in net.state_dict().items()}
    chunk = 5 if loss == "mean" else None
    objective = Objective(net, (images, labels), LOSSES[loss](label_smoothing=0.1), chunk=chunk)
    lanczos = gauss_newton(objective, top=2, probes=0, tolerance=1e-10)
    gram = gauss_newton(objective, top=2, method="gram")
    close(lanczos.whole.top, gram.whole.top)
    assert lanczos.whole.top[0] > 0
    for layer in gram.layers:
        close(lanczos.layers[layer].top, gram.layers[layer].top)
    assert net.training
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


def test_batch_statistics_when_asked_for():
    """Differentiated through the statistics, as in plain torch; the running ones stay."""
    torch.manual_seed(0)
    net = a2sg.create_model("mlp_small", num_classes=3, steps=2, in_channels=1, image_size=2, hidden=(5,))
    net = net.double()
    images, labels = torch.randn(6, 1, 2, 2, dtype=torch.float64), torch.arange(6) % 3
    before = {name: value.clone() for name, value in net.state_dict().items()}
    objective = Objective(net, (images, labels), LOSSES["mean"](), training=True)
    with opened(objective, hessian_of) as matrix:
        found = matrix.block(range(len(objective.parameters))).dense()
    weights = [p.detach().clone().requires_grad_() for p in objective.parameters]
    names = {
        name.removeprefix("fc1.").removeprefix("head.layer."): w
        for name, w in zip(objective.names, weights[:3], strict=False)
    }
    twin = reference.Neuron(reference.BY_NAME["asymmetric"].formula)

    def loss(vector):
        w, scale, shift, head, bias = [
            part.view_as(p)
            for part, p in zip(vector.split([q.numel() for q in weights]), weights, strict=True)
        ]
        current = F.linear(images.flatten(1), w)
        normed = F.batch_norm(current, None, None, scale, shift, training=True)
        spikes = reference.run(twin, normed.expand(2, -1, -1), torch.ones(2, dtype=torch.float64)).spikes
        return F.cross_entropy(F.linear(spikes, head, bias).mean(0), labels)

    assert list(names) == ["synapse.weight", "norm.bn.weight", "norm.bn.bias"]
    flat = torch.cat([w.detach().flatten() for w in weights])
    close(found, torch.autograd.functional.hessian(loss, flat), tolerance=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    with pytest.raises(InputError, match="evaluation mode"):
        empirical_fisher(objective)
    with pytest.raises(InputError, match="chunk"):
        replaced(objective, training=True, chunk=2)


def test_frozen_parameters_and_chosen_layers_are_left_out():
    objective = objective_of(CASES[1])
    objective.model.out.requires_grad_(False)
    fewer = replaced(objective)
    assert list(fewer.layers) == ["linears.0", "linears.1"]
    found = gauss_newton(fewer, layers=["linears.1"], probes=0)
    assert list(found.layers) == ["linears.1"]
    assert found.whole.trace is None
    assert found.whole.parameters == len(places(fewer)) < len(places(objective))
    assert gauss_newton(fewer, layers=(), method="gram").layers == {}
    with pytest.raises(InputError, match="no layer 'out'"):
        gauss_newton(fewer, layers=["out"])


def test_over_batches():
    objective = objective_of(CASES[0], size=8)
    spreads = over_batches(
        lambda part: empirical_fisher(part).whole.top[0], objective, sizes=(2, 8), repeats=4
    )
    small, whole = spreads
    assert (small.size, whole.size) == (2, 8)
    assert small.deviation > 0
    close(whole.values, [empirical_fisher(objective).whole.top[0]] * 4)
    values = torch.tensor(small.values, dtype=torch.float64)
    close([small.mean, small.deviation], [values.mean(), values.std()])
    with pytest.raises(InputError, match="cannot be drawn"):
        over_batches(lambda part: 0.0, objective, sizes=(9,))


def test_samples_are_found_or_asked_for():
    net = Net(CASES[1])
    x, y = batch(2, size=2)
    with pytest.raises(InputError, match="samples_dim"):
        Objective(net, (x, y), F.cross_entropy)
    objective = Objective(net, (x, y), F.cross_entropy, samples_dim=1)
    assert torch.equal(objective.subset([1]).inputs, x[:, 1:])
    with pytest.raises(InputError, match="5 labels"):
        Objective(net, (x, torch.zeros(5, dtype=torch.long)), F.cross_entropy)
    with pytest.raises(InputError, match="one number"):
        empirical_fisher(Objective(net, (x, y), lambda out, y: out, samples_dim=1))
    with pytest.raises(InputError, match="loss is nan"):
        empirical_fisher(Objective(net, (x, y), lambda out, y: out.sum() * torch.nan, samples_dim=1))
    with pytest.raises(InputError, match="not convex"):
        gauss_newton(
            Objective(net, (x, y), lambda out, y: -out.square().mean(), samples_dim=1), method="gram"
        )


def test_results_are_plain_data_and_readable():
    import json

    objective = objective_of(CASES[1])
    for found in (
        empirical_fisher(objective),
        surrogate_field_jacobian(objective, layers=()),
        grad_norm_sq(objective),
    ):
        assert json.loads(json.dumps(found.to_dict()))["samples"] == 5
    title, header, *rows = str(double_backward_hessian(objective)).splitlines()
    assert title.startswith("double-backward Hessian, 5 samples, loss ")
    assert header.split() == ["layer", "parameters", "largest", "smallest", "trace"]
    assert [row.split()[0] for row in rows] == ["whole", "linears.0", "linears.1", "out"]
    assert "±" in rows[0]
    assert len({len(row) for row in [header, *rows]}) == 1
    assert "asymmetry" in str(surrogate_field_jacobian(objective, layers=()))
    assert str(gauss_newton(objective, probes=0)).splitlines()[1].split()[-1] == "largest"


@pytest.mark.parametrize(
    "values",
    [
        torch.arange(1, 401).double() ** -4,  # no negative ones, and nothing near the lower end
        torch.cat([torch.logspace(0, -3, 20).double(), torch.zeros(380)]),  # of low rank
        torch.cat([torch.logspace(0, -3, 20).double(), -torch.logspace(-1, -5, 380).double()]),
        -(torch.arange(1, 401).double() ** -2),
    ],
    ids=["convex", "rank 20", "both signs", "concave"],
)
def test_ends_are_found_to_a_share_of_the_largest(values):
    """The smallest eigenvalue of a matrix that is all but convex took thousands of products, or was wrong."""
    generator = torch.Generator().manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(400, 400, generator=generator, dtype=torch.float64))
    matrix = (q * values) @ q.T
    products = []

    def product(vector):
        products.append(1)
        return matrix @ vector

    (top,), (bottom,) = Estimates().ends(Operator(400, product))
    largest = float(values.abs().max())
    assert bottom == pytest.approx(float(values.min()), abs=1e-4 * largest)
    assert top == pytest.approx(float(values.max()), abs=1e-4 * largest)
    assert len(products) < 200
