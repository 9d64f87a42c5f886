"""Products in float32 on a CPU: torch's numbers up to the order of sums, and torch's own way wherever that is not asked."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from acestep_lab.models import products, storage, threads
from acestep_lab.models.component_spec import ComponentSpec
from acestep_lab.models.device_manager import DeviceManager, DeviceMover
from acestep_lab.models.memory_plan import budget
from acestep_lab.models.tiers import GB, Machine


class Counted:
    """torch's operator, counted."""

    def __init__(self) -> None:
        self.calls, self.operator = 0, products._product()

    def __call__(self, *arguments: object) -> object:
        self.calls += 1
        return self.operator(*arguments)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    if products._product() is None:
        pytest.skip("This torch or processor has no such product.")
    counter = Counted()
    monkeypatch.setattr(products, "_product", lambda: counter)
    return counter


@pytest.mark.parametrize("shape", [(32, 7), (2, 40, 64), (1, 1, 33, 5)])
@pytest.mark.parametrize("biased", [False, True])
def test_a_product_is_torchs_up_to_the_order_of_its_sums(
    shape: tuple[int, ...], biased: bool, counted: Counted
) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(shape), torch.randn(9, shape[-1]), torch.randn(9) if biased else None
    with torch.inference_mode():
        found, exact = (
            products.linear(x, weight, bias),
            F.linear(x.double(), weight.double(), None if bias is None else bias.double()),
        )
    assert counted.calls == 1
    assert found.shape == exact.shape
    assert torch.allclose(found.double(), exact, rtol=1e-5, atol=1e-5)


def test_wherever_it_is_not_for_torchs_own_bytes_come(counted: Counted) -> None:
    x, weight = torch.randn(40, 16), torch.randn(8, 16)
    with torch.no_grad():
        for odd, other in (
            (x[:31], weight), (x.double(), weight.double()), (x.bfloat16(), weight.bfloat16()), (x, torch.randn(16, 8).t()), (x[:0], weight)
        ):  # fmt: skip
            assert torch.equal(products.linear(odd, other), F.linear(odd, other))
        with FakeTensorMode() as fake:
            assert products.linear(fake.from_tensor(x), fake.from_tensor(weight)).shape == (40, 8)
        with pytest.raises(RuntimeError):
            products.linear(x, torch.randn(8, 15))
    weight.requires_grad_(True)
    products.linear(x, weight).sum().backward()
    assert torch.allclose(weight.grad[0], x.sum(0), rtol=1e-5, atol=1e-5)
    assert counted.calls == 0


def test_a_bias_is_read_as_it_is_meant_or_refused_as_torch_refuses_it(counted: Counted) -> None:
    x, weight, many = torch.randn(40, 16), torch.randn(8, 16), torch.randn(16)
    with torch.no_grad():
        for bias in (many[::2], torch.randn(1).expand(8), torch.randn(1)):
            assert torch.equal(products.linear(x, weight, bias), F.linear(x, weight, bias))
        assert torch.allclose(products.linear(x, weight, many[8:]), F.linear(x, weight, many[8:]), rtol=1e-5, atol=1e-5)
        assert counted.calls == 1
        with pytest.raises(RuntimeError):
            products.linear(x, weight, torch.randn(7))
        with torch.autocast("cpu", torch.bfloat16):
            assert products.linear(x, weight).dtype is torch.bfloat16


def test_a_torch_without_that_operator_multiplies_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    products._product.cache_clear()
    try:
        x, weight = torch.randn(40, 16), torch.randn(8, 16)
        with torch.inference_mode():
            assert torch.equal(products.linear(x, weight), F.linear(x, weight))
    finally:
        products._product.cache_clear()


def test_layers_stay_linear_layers_that_are_copied_stored_and_trained(counted: Counted) -> None:
    module = products.install(nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 4)))
    copied = copy.deepcopy(module)
    with torch.no_grad():
        copied[0].weight.zero_()
        copied[0].bias.zero_()
        assert not copied[0](torch.randn(40, 16)).any(), "a copy multiplies by its own weight"
        before = module(torch.randn(40, 16))
        assert before.any()
    assert counted.calls == 3
    assert all(isinstance(layer, nn.Linear) for layer in module)
    stored = pickle.loads(pickle.dumps(module))
    with torch.no_grad():
        assert torch.equal(stored(ones := torch.ones(40, 16)), module(ones))
    assert list(module.state_dict()) == list(nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 4)).state_dict())
    storage.to_int8(module)
    assert not any(type(layer) in products.PLAIN for layer in module)


@pytest.mark.parametrize(("gigabytes", "quick"), [(3, True), (0.001, False)])
def test_a_large_checkpoint_on_a_cpu_gets_it_and_a_small_one_makes_the_bytes_it_always_made(
    gigabytes: float, quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "settle_once", lambda: None)
    specs = [ComponentSpec("dit", int(gigabytes * GB), "loop")]
    plan = budget(Machine("cpu", 24 * GB, ram_bytes=64 * GB, simulated=True), specs)
    devices = DeviceManager(
        lambda name, dtype: nn.Sequential(nn.Linear(8, 8)), plan, lambda plan: DeviceMover("cpu", None, None)
    )
    with devices.on("dit") as module:
        assert (type(module[0]) is products.OneDnnLinear) is quick
