"""A PyTorch module from a graph that `top5 convert` wrote, so that PyTorch runs and trains exactly the same network.

Parameters become `nn.Parameter`s, batch normalisations `nn.BatchNorm2d`s, and a ReLU works in place where nothing else
reads its input, as torchvision's do. The forward pass is generated as straight-line code (torch.fx): there is no
interpreter between the layers.
"""

import operator

import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import fx, nn


def attributes(node):
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


class Converter:
    def __init__(self, path):
        self.onnx = onnx.load(path).graph
        self.constants = {t.name: numpy_helper.to_array(t) for t in self.onnx.initializer}
        self.module = nn.Module()
        self.graph = fx.Graph()
        self.values = {}
        self.uses = {}
        for node in self.onnx.node:
            for name in node.input:
                self.uses[name] = self.uses.get(name, 0) + 1

    def build(self):
        [source] = [i.name for i in self.onnx.input if i.name not in self.constants]
        self.values[source] = self.graph.placeholder("x")
        for node in self.onnx.node:
            self.values[node.output[0]] = getattr(self, node.op_type)(node, attributes(node))
        outputs = [self.values[o.name] for o in self.onnx.output]
        self.graph.output(outputs[0] if len(outputs) == 1 else tuple(outputs))
        return fx.GraphModule(self.module, self.graph)

    def value(self, name):
        """An activation, or a constant as a parameter."""
        if name in self.values:
            return self.values[name]
        attribute = "p_" + name.replace(".", "_").replace("/", "_")
        if not hasattr(self.module, attribute):
            tensor = torch.from_numpy(self.constants[name].copy())
            # The exporter's own numbers, such as factors, are not learnt.
            self.module.register_parameter(attribute, nn.Parameter(tensor, requires_grad=".constant" not in name))
        self.values[name] = self.graph.get_attr(attribute)
        return self.values[name]

    def call(self, function, *args, **kwargs):
        return self.graph.call_function(function, args, kwargs)

    def padded(self, x, pads, value=0.0):
        """(x, pad) with symmetric padding; asymmetric padding becomes a step of its own."""
        half = len(pads) // 2
        if pads[:half] == pads[half:]:
            return x, tuple(pads[:half])
        pad = [side for i in reversed(range(half)) for side in (pads[i], pads[half + i])]
        return self.call(F.pad, x, pad, "constant", value), (0,) * half

    def Conv(self, node, a):
        x, weight, *bias = node.input
        x, pad = self.padded(self.value(x), a.get("pads", [0, 0, 0, 0]))
        bias = self.value(bias[0]) if bias else None
        stride, dilation = tuple(a.get("strides", (1, 1))), tuple(a.get("dilations", (1, 1)))
        return self.call(F.conv2d, x, self.value(weight), bias, stride, pad, dilation, a.get("group", 1))

    def Gemm(self, node, a):
        assert a.get("transB") == 1 and a.get("alpha", 1.0) == a.get("beta", 1.0) == 1.0
        return self.call(F.linear, *(self.value(name) for name in node.input))

    def BatchNormalization(self, node, a):
        weight, bias, mean, var = (torch.from_numpy(self.constants[n].copy()) for n in node.input[1:])
        layer = nn.BatchNorm2d(len(weight), eps=a.get("epsilon", 1e-5))
        layer.load_state_dict(
            {"weight": weight, "bias": bias, "running_mean": mean, "running_var": var}, strict=False
        )
        name = "n_" + node.output[0].replace(".", "_").replace("/", "_")
        self.module.add_module(name, layer)
        return self.graph.call_module(name, (self.value(node.input[0]),))

    def Relu(self, node, _):
        alone = self.uses[node.input[0]] == 1
        return self.call(F.relu, self.value(node.input[0]), inplace=alone)

    def Sigmoid(self, node, _):
        return self.call(torch.sigmoid, self.value(node.input[0]))

    def Tanh(self, node, _):
        return self.call(torch.tanh, self.value(node.input[0]))

    def Add(self, node, _):
        return self.call(torch.add, *(self.value(name) for name in node.input))

    def Mul(self, node, _):
        return self.call(torch.mul, *(self.value(name) for name in node.input))

    def Sub(self, node, _):
        return self.call(torch.sub, *(self.value(name) for name in node.input))

    def Neg(self, node, _):
        return self.call(torch.neg, self.value(node.input[0]))

    def MatMul(self, node, _):
        return self.call(torch.matmul, *(self.value(name) for name in node.input))

    def Transpose(self, node, a):
        return self.call(torch.permute, self.value(node.input[0]), tuple(a["perm"]))

    def Softmax(self, node, a):
        return self.call(torch.softmax, self.value(node.input[0]), a.get("axis", -1))

    def Unsqueeze(self, node, _):
        x = self.value(node.input[0])
        for axis in sorted(self.constants[node.input[1]].tolist()):
            x = self.call(torch.unsqueeze, x, axis)
        return x

    def ReduceSumSquare(self, node, a):
        x = self.value(node.input[0])
        return self.call(torch.sum, self.call(torch.mul, x, x), a["axes"], bool(a.get("keepdims", 1)))

    def Concat(self, node, a):
        return self.call(torch.cat, [self.value(name) for name in node.input], a["axis"])

    def Flatten(self, node, a):
        assert a.get("axis", 1) == 1
        return self.call(torch.flatten, self.value(node.input[0]), 1)

    def Pad(self, node, _):
        pads = self.constants[node.input[1]].tolist()
        half = len(pads) // 2
        pad = [side for i in reversed(range(half)) for side in (pads[i], pads[half + i])]
        return self.call(F.pad, self.value(node.input[0]), pad)

    def Slice(self, node, _):
        starts, ends, *rest = (self.constants[name].tolist() for name in node.input[1:] if name)
        axes = rest[0] if rest else range(len(starts))
        steps = rest[1] if len(rest) > 1 else [1] * len(starts)
        cut = [slice(None)] * 4
        for start, end, axis, step in zip(starts, ends, axes, steps):
            cut[axis] = slice(start, end, step)
        return self.call(operator.getitem, self.value(node.input[0]), tuple(cut))

    def Identity(self, node, _):
        return self.value(node.input[0])

    def MaxPool(self, node, a):
        x, pad = self.padded(self.value(node.input[0]), a.get("pads", [0, 0, 0, 0]), float("-inf"))
        stride = tuple(a.get("strides", (1, 1)))
        return self.call(
            F.max_pool2d, x, tuple(a["kernel_shape"]), stride, pad, ceil_mode=bool(a.get("ceil_mode", 0))
        )

    def AveragePool(self, node, a):
        pads = a.get("pads", [0, 0, 0, 0])
        assert pads[:2] == pads[2:], "asymmetric average pooling"
        return self.call(
            F.avg_pool2d, self.value(node.input[0]), tuple(a["kernel_shape"]), tuple(a.get("strides", (1, 1))),
            tuple(pads[:2]), bool(a.get("ceil_mode", 0)), bool(a.get("count_include_pad", 0)),
        )

    def GlobalAveragePool(self, node, _):
        return self.call(F.adaptive_avg_pool2d, self.value(node.input[0]), 1)

    def LRN(self, node, a):
        return self.call(F.local_response_norm, self.value(node.input[0]), a["size"], a["alpha"], a["beta"], a["bias"])


def module(path):
    return Converter(path).build()
