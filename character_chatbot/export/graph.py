"""The OpenVINO model of a Llama or Qwen2 base, built from its weights: inputs and cache as OpenVINO GenAI wants them.

model = build_graph(read_architecture(folder), Weights.open(folder, adapter), bits=4)
openvino.save_model(model, "openvino_model.xml", compress_to_fp16=False)

Linear layers are kept in 4 or 8 bits, the embedding and the output layer in 8, all else in float32. The cache is a
pair of variables for each layer, so that GenAI can put its paged attention in their place; names of linear layers are
those that its adapters look for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from character_chatbot.export.architecture import Architecture
from character_chatbot.export.compression import Packed, choose_group, pack_eight_bits, pack_four_bits
from character_chatbot.export.weights import Weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from openvino import Model, Node, Tensor

MASKED = -65504.0  # the lowest of float16
EMBEDDING, OUTPUT = "model.embed_tokens", "lm_head"


def build_graph(
    shape: Architecture, weights: Weights, bits: int, show: Callable[[int, int], None] = lambda done, layers: None
) -> Model:
    """The model, its weights packed.

    Args:
        shape: of the base.
        weights: of the base, an adapter merged in or not.
        bits: 4 or 8, of the linear layers; 16 for comparisons.
        show: called with the number of layers that are done and of all.

    Raises:
        BaseModelError: a tensor is missing.
    """
    return _Builder(shape, weights, bits).build(show)


@dataclass
class _Builder:
    shape: Architecture
    weights: Weights
    bits: int
    sinks: list[Node] = field(default_factory=list)

    def build(self, show: Callable[[int, int], None]) -> Model:
        import openvino
        from openvino import opset13 as ops

        inputs = self._inputs()
        ids = inputs["input_ids"]
        embedding = self._pack(EMBEDDING, 8)
        hidden = ops.gather(_unpack(embedding), ops.convert(ids, "i32"), _whole(0), 0)
        self._prepare(inputs)
        for layer in range(self.shape.layers):
            hidden = self._layer(hidden, f"model.layers.{layer}", layer)
            show(layer + 1, self.shape.layers)
        last = embedding if self.shape.tied else self._pack(OUTPUT, 8)
        logits = _named(ops.matmul(self._norm(hidden, "model.norm"), _unpack(last), False, True), OUTPUT)
        result = ops.result(logits)
        result.output(0).set_names({"logits"})
        return openvino.Model([result], self.sinks, list(inputs.values()), self.shape.model_type)

    def _inputs(self) -> dict[str, Any]:
        import openvino
        from openvino import opset13 as ops

        whole, short = openvino.Type.i64, openvino.Type.i32
        shapes = {"input_ids": [-1, -1], "attention_mask": [-1, -1], "position_ids": [-1, -1], "beam_idx": [-1]}
        found = {}
        for name, shape in shapes.items():
            found[name] = ops.parameter(shape, short if name == "beam_idx" else whole, name=name)
            found[name].output(0).set_names({name})
        return found

    def _prepare(self, inputs: dict[str, Any]) -> None:
        """What all layers share: sizes, angles of the positions, the causal mask."""
        from openvino import opset13 as ops

        sizes = ops.shape_of(inputs["input_ids"])
        self.batch, self.beam = ops.gather(sizes, _whole([0]), _whole(0)), inputs["beam_idx"]
        self.length = ops.gather(ops.shape_of(inputs["attention_mask"]), _whole([1]), _whole(0))
        angles = ops.multiply(
            ops.unsqueeze(ops.convert(inputs["position_ids"], "f32"), _whole(2)),
            ops.constant(self.shape.frequencies().reshape(1, 1, -1)),
        )
        angles = ops.unsqueeze(ops.concat([angles, angles], -1), _whole(1))
        self.cosine, self.sine = ops.cos(angles), ops.sin(angles)
        self.mask = _causal_mask(ops.gather(sizes, _whole([1]), _whole(0)), self.length, inputs["attention_mask"])

    def _layer(self, hidden: Node, name: str, number: int) -> Node:
        from openvino import opset13 as ops

        hidden = ops.add(hidden, self._attention(self._norm(hidden, f"{name}.input_layernorm"), name, number))
        normed = self._norm(hidden, f"{name}.post_attention_layernorm")
        gate = ops.swish(self._linear(normed, f"{name}.mlp.gate_proj"))
        gated = ops.multiply(gate, self._linear(normed, f"{name}.mlp.up_proj"))
        return ops.add(hidden, self._linear(gated, f"{name}.mlp.down_proj"))

    def _attention(self, hidden: Node, name: str, number: int) -> Node:
        from openvino import opset13 as ops

        heads, key_heads = self.shape.heads, self.shape.key_heads
        query = self._turn(self._heads(self._linear(hidden, f"{name}.self_attn.q_proj"), heads))
        key = self._turn(self._heads(self._linear(hidden, f"{name}.self_attn.k_proj"), key_heads))
        value = self._heads(self._linear(hidden, f"{name}.self_attn.v_proj"), key_heads)
        found = ops.scaled_dot_product_attention(
            query, self._cached(key, number, "key"), self._cached(value, number, "value"), self.mask
        )
        joined = ops.reshape(
            ops.transpose(found, _whole([0, 2, 1, 3])), _whole([0, 0, heads * self.shape.head_size]), True
        )
        return self._linear(joined, f"{name}.self_attn.o_proj")

    def _heads(self, hidden: Node, heads: int) -> Node:
        from openvino import opset13 as ops

        split = ops.reshape(hidden, _whole([0, 0, heads, self.shape.head_size]), True)
        return ops.transpose(split, _whole([0, 2, 1, 3]))

    def _turn(self, heads: Node) -> Node:
        """Rotary positions, halves of a head paired (as the weights on the hub are laid out)."""
        from openvino import opset13 as ops

        half = self.shape.head_size // 2
        left, right = ops.variadic_split(heads, _whole(3), _whole([half, half])).outputs()
        crossed = ops.concat([ops.multiply(right, _real(-1)), left], -1)
        return ops.add(ops.multiply(heads, self.cosine), ops.multiply(crossed, self.sine))

    def _cached(self, present: Node, layer: int, part: str) -> Node:
        """Keys or values of all tokens so far, each repeated for the heads that share it."""
        import openvino
        from openvino import opset6
        from openvino import opset13 as ops
        from openvino.op.util import Variable, VariableInfo

        heads, size = self.shape.key_heads, self.shape.head_size
        info = VariableInfo()
        info.variable_id = f"past_key_values.{layer}.{part}present.{layer}.{part}"  # as optimum names them
        info.data_type, info.data_shape = openvino.Type.f32, openvino.PartialShape([-1, heads, -1, size])
        variable = Variable(info)
        empty = ops.broadcast(_real(0), ops.concat([self.batch, _whole([heads, 0, size])], 0))
        past = ops.gather(opset6.read_value(empty, variable), self.beam, _whole(0))
        whole = ops.concat([past, present], 2)
        self.sinks.append(opset6.assign(whole, variable))
        if self.shape.heads == heads:
            return whole
        repeats = self.shape.heads // heads
        wanted = ops.concat([self.batch, _whole([heads, repeats]), self.length, _whole([size])], 0)
        repeated = ops.broadcast(ops.unsqueeze(whole, _whole(2)), wanted, "BIDIRECTIONAL")
        return ops.reshape(repeated, _whole([0, self.shape.heads, -1, size]), True)

    def _norm(self, hidden: Node, name: str) -> Node:
        """RMSNorm (Zhang and Sennrich 2019)."""
        from openvino import opset13 as ops

        mean = ops.reduce_mean(ops.power(hidden, _real(2)), _whole([-1]), True)
        root = ops.sqrt(ops.add(mean, _real(self.shape.epsilon)))
        scale = ops.constant(self.weights.read(f"{name}.weight").reshape(1, 1, -1))
        return ops.multiply(scale, ops.multiply(hidden, ops.divide(_real(1), root)))

    def _linear(self, hidden: Node, name: str) -> Node:
        from openvino import opset13 as ops

        product = _named(ops.matmul(hidden, _unpack(self._pack(name, self.bits)), False, True), name)
        if f"{name}.bias" not in self.weights:
            return product
        return ops.add(product, ops.constant(self.weights.read(f"{name}.bias").reshape(1, 1, -1)))

    def _pack(self, name: str, bits: int) -> _Constants:
        weight = self.weights.read(f"{name}.weight")
        group = choose_group(weight.shape[1])
        if bits == 16:
            return _half_precision(weight)
        return _constants(pack_four_bits(weight, group) if bits == 4 and group else pack_eight_bits(weight))


@dataclass(frozen=True)
class _Constants:
    """A packed matrix in the model; the tied embedding is there once and unpacked twice."""

    numbers: Node
    scales: Node | None = None
    zeros: Node | None = None
    shape: tuple[int, int] | None = None  # where groups have to be joined


def _constants(packed: Packed) -> _Constants:
    import openvino
    from openvino import opset13 as ops

    if packed.zeros is None:
        return _Constants(ops.constant(packed.numbers), ops.constant(packed.scales))
    groups = packed.columns // packed.group
    kind = openvino.Type.u4
    numbers = openvino.Tensor(packed.numbers, openvino.Shape([packed.rows, groups, packed.group]), kind)
    zeros = openvino.Tensor(packed.zeros, openvino.Shape([packed.rows, groups, 1]), kind)
    shape = (packed.rows, packed.columns)
    # A constant made of a tensor does not keep its array alive: it has to have a copy.
    return _Constants(_copied(numbers), ops.constant(packed.scales), _copied(zeros), shape)


def _copied(tensor: Tensor) -> Node:
    from openvino.op import Constant

    return Constant(tensor, shared_memory=False)


def _half_precision(weight: NDArray[np.float32]) -> _Constants:
    import numpy as np
    from openvino import opset13 as ops

    return _Constants(ops.constant(weight.astype(np.float16)))


def _unpack(constants: _Constants) -> Node:
    """The pattern that OpenVINO's plugins know as compressed weights."""
    from openvino import opset13 as ops

    found = constants.numbers if constants.scales is None else ops.convert(constants.numbers, "f16")
    if constants.zeros is not None:
        found = ops.subtract(found, ops.convert(constants.zeros, "f16"))
    if constants.scales is not None:
        found = ops.multiply(found, constants.scales)
    if constants.shape is not None:
        found = ops.reshape(found, _whole(list(constants.shape)), False)
    return ops.convert(found, "f32")


def _causal_mask(length: Node, whole: Node, attention_mask: Node) -> Node:
    """0 where a token may look, very low elsewhere; shape (batch, 1, tokens, tokens so far)."""
    from openvino import opset13 as ops

    end, count = ops.squeeze(whole, _whole(0)), ops.squeeze(length, _whole(0))
    keys = ops.range(_whole(0), end, _whole(1), "i64")
    queries = ops.range(ops.subtract(end, count), end, _whole(1), "i64")
    before = ops.less_equal(ops.unsqueeze(keys, _whole(0)), ops.unsqueeze(queries, _whole(1)))
    real = ops.convert(ops.unsqueeze(attention_mask, _whole([1, 2])), "boolean")
    return ops.select(ops.logical_and(ops.unsqueeze(before, _whole([0, 1])), real), _real(0), _real(MASKED))


def _named(node: Node, module: str) -> Node:
    node.set_friendly_name(f"__module.{module}/ov_ext::linear/MatMul")
    return node


def _whole(value: int | list[int]) -> Node:
    import numpy as np
    from openvino import opset13 as ops

    return ops.constant(np.array(value, np.int64))


def _real(value: float) -> Node:
    import numpy as np
    from openvino import opset13 as ops

    return ops.constant(np.array(value, np.float32))
