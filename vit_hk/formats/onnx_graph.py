"""A graph of ONNX operators, collected before ONNX itself is imported."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from vit_hk.errors import UserError

OPSET = 20  # the first with Gelu; LayerNormalization came with 17
IR_VERSION = 9  # that of opset 20
MAX_BYTES = 2**31 - 2**20  # protobuf allows less than 2 GiB


class Node(NamedTuple):
    """One operator of the graph, with its inputs and its output."""

    operator: str
    inputs: list[str]
    output: str
    attributes: dict[str, Any]


class Value(NamedTuple):
    """An input or an output of the graph."""

    name: str
    dtype: type[np.generic]
    shape: list[int | str]  # a text is a size that is only known when the graph runs


@dataclasses.dataclass
class Graph:
    """Operators in the order in which they run, and the constants that they read."""

    nodes: list[Node] = dataclasses.field(default_factory=list)
    constants: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def constant(self, name: str, value: Any, dtype: type[np.generic] = np.float32) -> str:
        """Add a constant, and return its name."""
        self.constants[name] = np.array(value, dtype, order="C")
        return name

    def integers(self, *values: int) -> str:
        """Return the name of a constant int64 [number of values]: a shape or axes."""
        return self.constant("_".join(["int", *map(str, values)]), values, np.int64)

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add an operator with one output, and return the name of that."""
        output = output or f"{operator}_{len(self.nodes)}"
        self.nodes.append(Node(operator, list(inputs), output, attributes))
        return output


def serialize(
    graph: Graph, inputs: list[Value], outputs: list[Value], metadata: dict[str, str]
) -> bytes:
    """Return an ONNX file.

    Raises:
      UserError: the package onnx is not installed, or the file would be too large for its format.
    """
    total = sum(value.nbytes for value in graph.constants.values())
    if total > MAX_BYTES:
        raise UserError(
            f"the weights have {total:,} bytes; an ONNX file holds at most {MAX_BYTES:,}; export "
            "to timm or transformers instead"
        )
    try:
        import onnx
    except ModuleNotFoundError:
        raise UserError(
            "the package onnx is not installed; install the extra: pip install -e '.[onnx]'"
        ) from None

    def value_info(value: Value) -> Any:
        dtype = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
        return onnx.helper.make_tensor_value_info(value.name, dtype, value.shape)

    nodes = [
        onnx.helper.make_node(n.operator, n.inputs, [n.output], n.output, **n.attributes)
        for n in graph.nodes
    ]
    constants = [onnx.numpy_helper.from_array(v, name) for name, v in graph.constants.items()]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            nodes, "vit", [value_info(v) for v in inputs], [value_info(v) for v in outputs],
            initializer=constants,
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="vit-hk",
    )  # fmt: skip
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)
