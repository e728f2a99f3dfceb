"""ONNX graphs in Keras and LiteRT: a script for the tool environment, where TensorFlow lives and ferflow does not.

    python _tensorflow_tool.py convert MODEL.onnx OUT.{keras,tflite} CARD.json
    python _tensorflow_tool.py run FILE FACES.npz ANSWERS.npz

The Keras model is made of Keras's own layers and operations, so that what loads it needs nothing of ours. Pictures go
through it with their channels last, as TensorFlow's CPU kernels want them; everything else keeps the order of ONNX.
"""

import json
import os
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
from keras import layers, ops

CARD_KEY = "ferflow_card"
Attributes = dict[str, Any]
Convert = Callable[["Graph", Any, Attributes], None]
Run = Callable[[np.ndarray], list[np.ndarray]]


class UnsupportedError(Exception):
    """A graph with something that this conversion does not know."""


def integers(model: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Every integer tensor of a graph for batches of 2 and of 3 faces, as ONNX Runtime computes them: name -> (for 2, for 3).

    Shapes are computed inside such graphs. What is the same for both batches is a constant, what differs is the batch.
    """
    import onnx
    import onnxruntime

    graph = onnx.ModelProto()
    graph.CopyFrom(onnx.shape_inference.infer_shapes(model))
    wanted = (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
    infos = [info for info in graph.graph.value_info if info.type.tensor_type.elem_type in wanted]
    if not infos:
        return {}
    del graph.graph.output[:]
    graph.graph.output.extend(infos)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    side = [dimension.dim_value for dimension in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    two, three = (session.run(None, {"faces": np.zeros((count, *side), np.uint8)}) for count in (2, 3))
    return {info.name: pair for info, pair in zip(infos, zip(two, three, strict=True), strict=True)}


class Graph:
    """An ONNX graph that is being built in Keras: names -> NumPy constants or Keras tensors."""

    def __init__(self, model: Any) -> None:
        from onnx import numpy_helper

        self.integers = integers(model)
        self.values: dict[str, Any] = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
        self.values |= {name: two for name, (two, three) in self.integers.items() if np.array_equal(two, three)}
        self.last: set[str] = set()  # names of pictures whose channels stand last

    def get(self, name: str, channels_last: bool = False) -> Any:
        """A value in the wanted order."""
        if not name:
            return None
        value = self.values[name]
        if (name in self.last) != channels_last:
            return ops.transpose(value, (0, 2, 3, 1) if channels_last else (0, 3, 1, 2))
        return value

    def shape(self, name: str) -> list[int]:
        """What an integer vector says of a shape: -1 where it follows the batch."""
        if name in self.integers:
            two, three = self.integers[name]
            return [int(a) if a == b else -1 for a, b in zip(two, three, strict=True)]
        return [int(size) for size in self.values[name]]


def build(model: Any) -> Any:
    """The Keras model of an ONNX model."""
    from onnx import helper

    graph = Graph(model)
    (source,) = model.graph.input
    side = [dimension.dim_value for dimension in source.type.tensor_type.shape.dim[1:]]
    faces = keras.Input(side, dtype="uint8", name="faces")
    graph.values[source.name] = faces
    for node in model.graph.node:
        if node.output[0] in graph.values or node.output[0] in graph.integers:
            continue  # a shape: known already
        if node.op_type not in OPERATIONS:
            raise UnsupportedError(
                f"the ONNX operation {node.op_type} ({node.name}) is not known; known: {', '.join(OPERATIONS)}"
            )
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        OPERATIONS[node.op_type](graph, node, attributes)
    # A layer that does nothing gives every output its name. The answers of an ensemble's members (member/task) are left out.
    names = [output.name for output in model.graph.output if "/" not in output.name]
    outputs = {name: layers.Activation("linear", dtype="float32", name=name)(graph.get(name)) for name in names}
    return keras.Model(faces, outputs, name="ferflow")


# One operation each: (graph, node, attributes) -> None. "point" is what looks at every number alone.


def point(function: Callable[[Any, Attributes], Any]) -> Convert:
    def convert(graph: Graph, node: Any, attributes: Attributes) -> None:
        graph.values[node.output[0]] = function(graph.values[node.input[0]], attributes)
        if node.input[0] in graph.last:
            graph.last.add(node.output[0])

    return convert


def pair(function: Callable[[Any, Any], Any]) -> Convert:
    """An operation of two values; pictures keep their channels last where both can."""

    def convert(graph: Graph, node: Any, attributes: Attributes) -> None:
        last = any(name in graph.last for name in node.input)
        values = [placed(graph, name) if last else graph.get(name) for name in node.input]
        if any(value is None for value in values):
            last, values = False, [graph.get(name) for name in node.input]
        result = values[0]
        for value in values[1:]:
            result = function(result, value)
        graph.values[node.output[0]] = result
        if last:
            graph.last.add(node.output[0])

    return convert


def placed(graph: Graph, name: str) -> Any:
    """A value with its channels last; a constant that spreads over pictures is turned; None where that cannot be."""
    value = graph.values[name]
    if name in graph.last or len(value.shape) == 0:
        return value
    if len(value.shape) == 4:
        return np.transpose(value, (0, 2, 3, 1)) if isinstance(value, np.ndarray) else graph.get(name, channels_last=True)
    if isinstance(value, np.ndarray) and len(value.shape) == 3:
        return np.transpose(value, (1, 2, 0))[None]
    return None


def padded(x: Any, attributes: Attributes, value: float, kernel: Sequence[int], strides: Sequence[int]) -> Any:
    """A picture with ONNX's padding (and one more row where the last window of ``ceil_mode`` reaches over the edge)."""
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise UnsupportedError(f"auto_pad {attributes['auto_pad']}")
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    if attributes.get("ceil_mode", 0):
        for axis, low in ((0, top), (1, left)):
            size = x.shape[axis + 1] + low + (bottom if axis == 0 else right)
            over = -(size - kernel[axis]) % strides[axis]
            bottom, right = (bottom + over, right) if axis == 0 else (bottom, right + over)
    if not any((top, left, bottom, right)):
        return x
    return ops.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def conv(graph: Graph, node: Any, attributes: Attributes) -> None:
    weights, bias = graph.values[node.input[1]], graph.get(node.input[2]) if len(node.input) > 2 else None
    kernel, groups = weights.shape[2:], attributes.get("group", 1)
    strides, dilations = tuple(attributes.get("strides", [1, 1])), tuple(attributes.get("dilations", [1, 1]))
    x = padded(graph.get(node.input[0], channels_last=True), attributes, 0.0, kernel, strides)
    turned = np.transpose(weights, (2, 3, 1, 0))
    options = {"strides": strides, "dilation_rate": dilations, "use_bias": bias is not None}
    if groups > 1 and groups == weights.shape[0] == x.shape[-1]:
        layer, turned = layers.DepthwiseConv2D(kernel, **options), np.transpose(weights, (2, 3, 0, 1))
    else:
        layer = layers.Conv2D(weights.shape[0], kernel, groups=groups, **options)
    graph.values[node.output[0]] = layer(x)
    layer.set_weights([turned] if bias is None else [turned, bias])
    graph.last.add(node.output[0])


def pool(largest: bool) -> Convert:
    def convert(graph: Graph, node: Any, attributes: Attributes) -> None:
        kernel, strides = attributes["kernel_shape"], attributes.get("strides", [1, 1])
        picture = graph.get(node.input[0], channels_last=True)
        x = padded(picture, attributes, -3.4e38 if largest else 0.0, kernel, strides)
        found = (layers.MaxPooling2D if largest else layers.AveragePooling2D)(tuple(kernel), tuple(strides))(x)
        if not largest and x is not picture and not attributes.get("count_include_pad", 0):
            # The mean is over what is inside: how much that is stands in a constant.
            ones = np.ones((1, *picture.shape[1:3], 1), np.float32)
            inside = ops.average_pool(padded(ones, attributes, 0.0, kernel, strides), tuple(kernel), tuple(strides))
            found = found / ops.convert_to_numpy(inside)
        graph.values[node.output[0]] = found
        graph.last.add(node.output[0])

    return convert


def batch_normalization(graph: Graph, node: Any, attributes: Attributes) -> None:
    scale, shift, mean, variance = (graph.values[name] for name in node.input[1:5])
    layer = layers.BatchNormalization(epsilon=attributes.get("epsilon", 1e-5))
    last = len(graph.values[node.input[0]].shape) == 4
    graph.values[node.output[0]] = layer(graph.get(node.input[0], channels_last=last))
    layer.set_weights([scale, shift, mean, variance])
    if last:
        graph.last.add(node.output[0])


def layer_normalization(graph: Graph, node: Any, attributes: Attributes) -> None:
    x, scale = graph.get(node.input[0]), graph.values[node.input[1]]
    layer = layers.LayerNormalization(axis=attributes.get("axis", -1), epsilon=attributes.get("epsilon", 1e-5))
    graph.values[node.output[0]] = layer(x)
    layer.set_weights([scale, graph.values[node.input[2]] if len(node.input) > 2 else np.zeros_like(scale)])


def gemm(graph: Graph, node: Any, attributes: Attributes) -> None:
    if attributes.get("transA", 0) or attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0:
        raise UnsupportedError("Gemm with transA, alpha or beta")
    weights = graph.values[node.input[1]]
    dense(
        graph,
        node,
        weights.T if attributes.get("transB", 0) else weights,
        graph.get(node.input[2]) if len(node.input) > 2 else None,
    )


def dense(graph: Graph, node: Any, weights: np.ndarray, bias: np.ndarray | None = None) -> None:
    layer = layers.Dense(weights.shape[1], use_bias=bias is not None)
    graph.values[node.output[0]] = layer(graph.get(node.input[0]))
    layer.set_weights([weights] if bias is None else [weights, np.broadcast_to(bias, (weights.shape[1],))])


def matmul(graph: Graph, node: Any, attributes: Attributes) -> None:
    left, right = (graph.get(name) for name in node.input)
    if isinstance(right, np.ndarray) and right.ndim == 2:
        dense(graph, node, right)
    else:
        graph.values[node.output[0]] = ops.matmul(left, right)


def axes_of(graph: Graph, node: Any, attributes: Attributes, place: int = 1) -> list[int] | None:
    if len(node.input) > place and node.input[place]:
        return [int(axis) for axis in graph.values[node.input[place]]]
    return list(attributes["axes"]) if "axes" in attributes else None


def reduce(function: Callable[..., Any]) -> Convert:
    def convert(graph: Graph, node: Any, attributes: Attributes) -> None:
        name, keep = node.input[0], bool(attributes.get("keepdims", 1))
        x, axes = graph.values[name], axes_of(graph, node, attributes)
        last = name in graph.last and keep
        if name in graph.last:  # of a picture, without turning it round
            axes = [(0, 3, 1, 2)[axis % 4] for axis in axes] if axes is not None else None
            if not keep and sorted(axes or ()) != [1, 2]:
                x, axes = graph.get(name), axes_of(graph, node, attributes)
        graph.values[node.output[0]] = function(x, axis=None if axes is None else tuple(axes), keepdims=keep)
        if last:
            graph.last.add(node.output[0])

    return convert


def resize(graph: Graph, node: Any, attributes: Attributes) -> None:
    mode, coordinates = attributes["mode"], attributes.get("coordinate_transformation_mode", b"half_pixel")
    if mode != b"linear" or coordinates not in (b"half_pixel", b"pytorch_half_pixel") or not node.input[3:]:
        raise UnsupportedError(f"Resize with {mode!r}, {coordinates!r}")
    height, width = graph.shape(node.input[3])[2:]
    x = graph.get(node.input[0], channels_last=True)
    if height == 1 or width == 1:
        raise UnsupportedError("Resize to one pixel")
    graph.values[node.output[0]] = ops.image.resize(x, (height, width), interpolation="bilinear", antialias=False)
    graph.last.add(node.output[0])


def reshape(graph: Graph, node: Any, attributes: Attributes) -> None:
    x, target = graph.get(node.input[0]), graph.shape(node.input[1])
    target = [x.shape[place] if size == 0 else size for place, size in enumerate(target)]
    target = [-1 if size is None else size for size in target]
    graph.values[node.output[0]] = whole(x, target)


def whole(x: Any, target: list[int]) -> Any:
    """``x`` in another shape, of which one size may be the batch's (-1)."""
    if target.count(-1) > 1:
        raise UnsupportedError(f"a shape with more than one open size: {target}")
    return ops.reshape(x, target)


def gather(graph: Graph, node: Any, attributes: Attributes) -> None:
    x, axis = graph.get(node.input[0]), attributes.get("axis", 0)
    if node.input[1] in graph.values:
        graph.values[node.output[0]] = ops.take(x, np.asarray(graph.values[node.input[1]], np.int32), axis=axis)
        return
    # Everything in its own order (torch.as_strided): that is another shape.
    two, three = graph.integers[node.input[1]]
    if len(x.shape) != 1 or not all(np.array_equal(part.ravel(), np.arange(part.size)) for part in (two, three)):
        raise UnsupportedError("Gather by numbers that follow the batch")
    graph.values[node.output[0]] = whole(x, [int(a) if a == b else -1 for a, b in zip(two.shape, three.shape, strict=True)])


def expand(graph: Graph, node: Any, attributes: Attributes) -> None:
    x, target = graph.get(node.input[0]), graph.shape(node.input[1])
    if target[0] != -1:
        raise UnsupportedError("Expand of anything but a constant over the batch")
    # A constant row for every face: nothing of the picture, in its shape.
    faces = next(value for value in graph.values.values() if not isinstance(value, np.ndarray))
    nothing = ops.sum(ops.cast(faces, "float32"), axis=(1, 2, 3)) * 0.0
    graph.values[node.output[0]] = ops.reshape(nothing, (-1, *[1] * (len(target) - 1))) + x


def slices(graph: Graph, node: Any, attributes: Attributes) -> None:
    x = graph.get(node.input[0])
    parts = [graph.shape(name) for name in node.input[1:]]
    starts, ends = parts[:2]
    axes = parts[2] if len(parts) > 2 else range(len(starts))
    steps = parts[3] if len(parts) > 3 else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis %= len(x.shape)
        if step == -1 and start == -1 and end < -(2**30):
            x = ops.flip(x, axis)
            continue
        if axis == 0 and x.shape[0] is None:
            if (start, step) == (0, 1) and (end > 2**30 or end == -1):
                continue
            raise UnsupportedError("Slice of the batch")
        whole_axis = [slice(None)] * len(x.shape)
        whole_axis[axis] = slice(start, None if abs(end) > 2**30 else end, step)
        x = x[tuple(whole_axis)]
    graph.values[node.output[0]] = x


def concat(graph: Graph, node: Any, attributes: Attributes) -> None:
    axis, names = attributes["axis"], node.input
    last = all(name in graph.last for name in names)
    graph.values[node.output[0]] = ops.concatenate(
        [graph.values[name] if last else graph.get(name) for name in names], axis=(0, 3, 1, 2)[axis % 4] if last else axis
    )
    if last:
        graph.last.add(node.output[0])


def transpose(graph: Graph, node: Any, attributes: Attributes) -> None:
    order = list(attributes["perm"])
    if order == [0, 3, 1, 2] and node.input[0] not in graph.last:  # a picture's channels to the front: they may stay behind
        graph.values[node.output[0]] = graph.values[node.input[0]]
        graph.last.add(node.output[0])
    else:
        graph.values[node.output[0]] = ops.transpose(graph.get(node.input[0]), order)


def along(function: Callable[[Any, int], Any]) -> Convert:
    def convert(graph: Graph, node: Any, attributes: Attributes) -> None:
        graph.values[node.output[0]] = function(graph.get(node.input[0]), attributes.get("axis", -1))

    return convert


def unsqueeze(graph: Graph, node: Any, attributes: Attributes) -> None:
    x = graph.get(node.input[0])
    for axis in sorted(axes_of(graph, node, attributes) or ()):
        x = ops.expand_dims(x, axis)
    graph.values[node.output[0]] = x


def squeeze(graph: Graph, node: Any, attributes: Attributes) -> None:
    axes = axes_of(graph, node, attributes)
    graph.values[node.output[0]] = ops.squeeze(graph.get(node.input[0]), tuple(axes) if axes else None)


def split(graph: Graph, node: Any, attributes: Attributes) -> None:
    x, axis = graph.get(node.input[0]), attributes.get("axis", 0)
    sizes = graph.shape(node.input[1]) if len(node.input) > 1 else [x.shape[axis] // len(node.output)] * len(node.output)
    for name, part in zip(node.output, ops.split(x, np.cumsum(sizes[:-1]).tolist(), axis=axis), strict=True):
        graph.values[name] = part


def clip(graph: Graph, node: Any, attributes: Attributes) -> None:
    bounds = [graph.get(name) if name else None for name in node.input[1:]]
    low, high = (float(b) if b is not None else limit for b, limit in zip((*bounds, None)[:2], (-3.4e38, 3.4e38), strict=True))
    point(lambda x, _: ops.clip(x, low, high))(graph, node, attributes)


def cast(graph: Graph, node: Any, attributes: Attributes) -> None:
    types = {1: "float32", 6: "int32", 7: "int64", 9: "bool"}
    if attributes["to"] not in types:
        raise UnsupportedError(f"Cast to ONNX's type {attributes['to']}")
    point(lambda x, _: ops.cast(x, types[attributes["to"]]))(graph, node, attributes)


OPERATIONS: dict[str, Convert] = {
    "Add": pair(ops.add),
    "AveragePool": pool(largest=False),
    "BatchNormalization": batch_normalization,
    "Cast": cast,
    "Clip": clip,
    "Concat": concat,
    "Conv": conv,
    "Div": pair(ops.divide),
    "Elu": point(lambda x, a: ops.elu(x, a.get("alpha", 1.0))),
    "Erf": point(lambda x, _: ops.erf(x)),
    "Exp": point(lambda x, _: ops.exp(x)),
    "Expand": expand,
    "Floor": point(lambda x, _: ops.floor(x)),
    "Gather": gather,
    "Gelu": point(lambda x, a: ops.gelu(x, approximate=a.get("approximate", b"none") == b"tanh")),
    "Gemm": gemm,
    "HardSigmoid": point(lambda x, a: ops.clip(x * a.get("alpha", 0.2) + a.get("beta", 0.5), 0.0, 1.0)),
    "HardSwish": point(lambda x, _: x * ops.clip(x / 6.0 + 0.5, 0.0, 1.0)),
    "LayerNormalization": layer_normalization,
    "Log": point(lambda x, _: ops.log(x)),
    "MatMul": matmul,
    "Max": pair(ops.maximum),
    "MaxPool": pool(largest=True),
    "Min": pair(ops.minimum),
    "Mul": pair(ops.multiply),
    "Neg": point(lambda x, _: -x),
    "Pow": pair(ops.power),
    "Reciprocal": point(lambda x, _: 1.0 / x),
    "ReduceMax": reduce(ops.max),
    "ReduceMean": reduce(ops.mean),
    "ReduceSum": reduce(ops.sum),
    "Relu": point(lambda x, _: ops.relu(x)),
    "Reshape": reshape,
    "Resize": resize,
    "Sigmoid": point(lambda x, _: ops.sigmoid(x)),
    "Slice": slices,
    "Softmax": along(lambda x, axis: ops.softmax(x, axis=axis)),
    "Split": split,
    "Sqrt": point(lambda x, _: ops.sqrt(x)),
    "Squeeze": squeeze,
    "Sub": pair(ops.subtract),
    "Tanh": point(lambda x, _: ops.tanh(x)),
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}


def convert(source: str, target: str, card: str) -> None:
    """Write ``target`` (.keras or .tflite) from an ONNX file, with the card in it."""
    import onnx

    model = build(onnx.load(source))
    if target.endswith(".tflite"):
        import tensorflow as tf

        Path(target).write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    else:
        model.save(target)
    # Both are archives, or may end with one: where TensorFlow Lite keeps what belongs to a model, too.
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr(f"{CARD_KEY}.json", Path(card).read_text())


def card_in(path: str) -> dict[str, Any]:
    """The card in a file; UnsupportedError where there is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read(f"{CARD_KEY}.json"))
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise UnsupportedError(f"{path} holds no model card: it is no ferflow export ({error})") from error


def loaded(path: str) -> Run:
    """What answers for uint8 faces, task by task, in the file's own runtime on one thread."""
    tasks = list(card_in(path)["tasks"])
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if path.endswith(".tflite"):
        interpreter = tf.lite.Interpreter(path, num_threads=1)
        signature = interpreter.get_signature_runner()

        def run(faces: np.ndarray) -> list[np.ndarray]:
            found = signature(faces=faces)
            return [found[task] for task in tasks]

        return run
    model = keras.models.load_model(path, compile=False)
    graph = tf.function(lambda faces: model(faces, training=False), reduce_retracing=True)
    return lambda faces: [graph(tf.constant(faces))[task].numpy() for task in tasks]


def answer(path: str, source: str, target: str) -> None:
    """Write the outputs for faces, and the median milliseconds of batches of 1 and 32."""
    run, faces = loaded(path), np.load(source)["faces"]
    parts = [run(faces[start : start + 100]) for start in range(0, len(faces), 100)]
    outputs: dict[str, Any] = {f"output_{place}": np.concatenate(part) for place, part in enumerate(zip(*parts, strict=True))}
    times: dict[str, Any] = {
        f"ms_{size}": milliseconds(run, np.resize(faces, (size, *faces.shape[1:])), 20 if size == 1 else 5) for size in (1, 32)
    }
    np.savez(target, **outputs, **times)


def milliseconds(run: Run, batch: np.ndarray, rounds: int) -> float:
    """Median of a few rounds after two that warm up."""
    seconds = []
    for _ in range(rounds + 2):
        started = perf_counter()
        run(batch)
        seconds.append(perf_counter() - started)
    return 1000 * median(seconds[2:])


if __name__ == "__main__":
    try:
        {"convert": convert, "run": answer}[sys.argv[1]](*sys.argv[2:])
    except UnsupportedError as error:
        print(f"unsupported: {error}", file=sys.stderr)
        sys.exit(3)
