"""The questions that every layer and every model answers, each in one line over its recording."""

from collections.abc import Callable
from typing import Any

from modelmeter.core import units
from modelmeter.core.cost import Cost, StageCost
from modelmeter.core.dims import Dim
from modelmeter.core.recorder import RecordOptions, Segment

FORWARD = RecordOptions()


class Metrics:
    """FLOP methods return 1e12 FLOPs, `*_cal_io` terabits, `*_arithmetic_intensity` FLOPs per byte, memory methods GiB.

    Asking changes nothing. What a layer lacks is 0.0. `backward_*` take `frozen_weights` (no weight gradients) and
    `input_grad` (False: the input needs none).
    """

    def _measure(
        self, read: Callable[[Segment], tuple[Dim, ...]], options: RecordOptions, input_grad: bool
    ) -> tuple[Dim, ...]:
        """What `read` finds in a recording of the current input."""
        raise NotImplementedError

    def parameter_bytes(self) -> Any:
        """Bytes of weights resident."""
        raise NotImplementedError

    def kv_cache_bytes(self) -> Dim:
        """Bytes of KV cache held."""
        raise NotImplementedError

    def cost(self, *, elementwise: bool = True) -> Cost:
        """FLOPs and bytes of a forward pass, exact. `elementwise=False` leaves the elementwise FLOPs out."""
        options = RecordOptions(elementwise=elementwise)
        return Cost.from_values(self._measure(lambda segment: segment.numbers, options, False))

    def backward_cost(self, *, frozen_weights: bool = False, input_grad: bool = True) -> Cost:
        """FLOPs and bytes of the backward pass alone, exact."""
        options = RecordOptions(grad=True, weight_grads=not frozen_weights)
        return Cost.from_values(self._measure(lambda segment: segment.backward_numbers, options, input_grad))

    def activation_peak_bytes(self) -> Dim:
        """Largest number of activation bytes alive at once in a forward pass, its inputs included."""
        return self._measure(lambda segment: (segment.peak()[1],), FORWARD, False)[0]

    def saved_bytes(self, *, frozen_weights: bool = False, input_grad: bool = True) -> Dim:
        """Bytes of activations that a forward pass keeps for the backward pass, each storage once."""
        options = RecordOptions(grad=True, weight_grads=not frozen_weights)
        return self._measure(lambda segment: (segment.saved_bytes,), options, input_grad)[0]

    def get_forward_cost(self) -> StageCost:
        """All forward metrics at once."""
        *numbers, peak = self._measure(lambda segment: (*segment.numbers, segment.peak()[1]), FORWARD, False)
        return StageCost(
            cost=Cost.from_values(numbers),
            weights_bytes=self.parameter_bytes(),
            activations_bytes=peak,
            kv_cache_bytes=self.kv_cache_bytes(),
        )

    def get_backward_cost(self, *, frozen_weights: bool = False, input_grad: bool = True) -> StageCost:
        """All backward metrics at once: weights are their gradients, activations what is kept for backward."""
        kwargs = {"frozen_weights": frozen_weights, "input_grad": input_grad}
        return StageCost(
            cost=self.backward_cost(**kwargs),
            weights_bytes=0 if frozen_weights else self.parameter_bytes(),
            activations_bytes=self.saved_bytes(**kwargs),
        )

    def forward_tensor_core_flops(self) -> Dim:
        """Tensor-core FLOPs, 1e12."""
        return units.to_tflops(self.cost().tensor_flops)

    def forward_cuda_core_flops(self) -> Dim:
        """CUDA-core FLOPs, 1e12."""
        return units.to_tflops(self.cost().cuda_flops)

    def forward_cal_io(self) -> Dim:
        """Terabits moved."""
        return units.to_terabits(self.cost().io_bytes)

    def forward_arithmetic_intensity(self) -> Dim:
        """FLOPs per byte moved."""
        return self.cost().arithmetic_intensity

    def forward_memory_weight(self) -> Dim:
        """Weights resident, GiB."""
        return units.to_gib(self.parameter_bytes())

    def forward_memory_activation(self) -> Dim:
        """Peak of the live activations, GiB."""
        return units.to_gib(self.activation_peak_bytes())

    def forward_memory_kvcache(self) -> Dim:
        """KV cache held, GiB."""
        return units.to_gib(self.kv_cache_bytes())

    def backward_tensor_core_flops(self, *, frozen_weights: bool = False, input_grad: bool = True) -> Dim:
        """Tensor-core FLOPs of the backward pass, 1e12."""
        return units.to_tflops(self.backward_cost(frozen_weights=frozen_weights, input_grad=input_grad).tensor_flops)

    def backward_cuda_core_flops(self, *, frozen_weights: bool = False, input_grad: bool = True) -> Dim:
        """CUDA-core FLOPs of the backward pass, 1e12."""
        return units.to_tflops(self.backward_cost(frozen_weights=frozen_weights, input_grad=input_grad).cuda_flops)

    def backward_cal_io(self, *, frozen_weights: bool = False, input_grad: bool = True) -> Dim:
        """Terabits moved by the backward pass."""
        return units.to_terabits(self.backward_cost(frozen_weights=frozen_weights, input_grad=input_grad).io_bytes)

    def backward_arithmetic_intensity(self, *, frozen_weights: bool = False, input_grad: bool = True) -> Dim:
        """FLOPs per byte moved by the backward pass."""
        return self.backward_cost(frozen_weights=frozen_weights, input_grad=input_grad).arithmetic_intensity

    def backward_memory_weight(self, *, frozen_weights: bool = False) -> Dim:
        """Gradients of the weights, GiB."""
        return units.to_gib(0 if frozen_weights else self.parameter_bytes())

    def backward_memory_activation(self, *, frozen_weights: bool = False, input_grad: bool = True) -> Dim:
        """Activations kept for the backward pass, GiB."""
        return units.to_gib(self.saved_bytes(frozen_weights=frozen_weights, input_grad=input_grad))

    def backward_memory_kvcache(self) -> Dim:
        """A backward pass holds no KV cache: 0.0."""
        return 0.0
