"""A closed formula as a tree of lists that JSON holds and the page evaluates: no text is run as code there.

`"62280*B*S**2"` becomes `["*", "62280", "B", ["^", "S", "2"]]`. Numbers are strings of digits, so none loses a digit
on its way to the page, which keeps them whole (BigInt) as long as the arithmetic does.
"""

import ast
from typing import Any, Final, TypeAlias

from modelmeter.core.errors import ModelMeterError

Node: TypeAlias = str | list[Any]
_BINARY: Final[dict[type[ast.operator], str]] = {
    ast.Add: "+",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Pow: "^",
}
_COMPARE: Final[dict[type[ast.cmpop], str]] = {
    ast.Eq: "eq",
    ast.NotEq: "ne",
    ast.Lt: "lt",
    ast.LtE: "le",
    ast.Gt: "gt",
    ast.GtE: "ge",
}
_CALLS: Final = {
    "Max": "max",
    "Min": "min",
    "ceiling": "ceil",
    "floor": "floor",
    "Eq": "eq",
    "Ne": "ne",
    "Lt": "lt",
    "Le": "le",
    "Gt": "gt",
    "Ge": "ge",
}


def formula_tree(expression: str) -> Node:
    """The tree of an expression as SymPy prints it. Raises `ModelMeterError` for what the page cannot evaluate."""
    try:
        return _node(ast.parse(expression, mode="eval").body)
    except SyntaxError as error:
        raise ModelMeterError(f"formula {expression!r} is no arithmetic: {error.msg}") from error


def _node(node: ast.expr) -> Node:
    match node:
        case ast.Constant(value=bool()):
            return ["true" if node.value else "false"]
        case ast.Constant(value=int() | float()):
            return repr(node.value)
        case ast.Name(id="True" | "False" as name):
            return [name.lower()]
        case ast.Name(id=name):
            return name
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return repr(-value)
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return ["*", "-1", _node(inner)]
        case ast.BinOp(op=ast.Sub(), left=left, right=right):
            return _flat("+", _node(left), _negative(_node(right)))
        case ast.BinOp(op=operation, left=left, right=right) if type(operation) in _BINARY:
            return _flat(_BINARY[type(operation)], _node(left), _node(right))
        case ast.Compare(left=left, ops=[operation], comparators=[right]) if type(operation) in _COMPARE:
            return [_COMPARE[type(operation)], _node(left), _node(right)]
        case ast.IfExp(test=test, body=body, orelse=otherwise):
            return ["cases", [_node(body), _node(test)], [_node(otherwise), ["true"]]]
        case ast.Call(func=ast.Name(id="Piecewise"), args=cases, keywords=[]):
            return ["cases", *[_case(case) for case in cases]]
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _CALLS:
            return [_CALLS[name], *[_node(argument) for argument in arguments]]
        case _:
            raise ModelMeterError(f"formula has {ast.unparse(node)!r}, which the page cannot evaluate")


def _case(node: ast.expr) -> list[Node]:
    if not isinstance(node, ast.Tuple) or len(node.elts) != 2:
        raise ModelMeterError(f"formula has the case {ast.unparse(node)!r}: a case is (value, condition)")
    value, condition = node.elts
    return [_node(value), _node(condition)]


def _flat(operation: str, left: Node, right: Node) -> Node:
    """One list for a whole sum or product."""
    if operation in "+*" and isinstance(left, list) and left[0] == operation:
        return [*left, right]
    return [operation, left, right]


def _negative(node: Node) -> Node:
    if isinstance(node, list) and node[0] == "*" and isinstance(node[1], str) and node[1].isdigit():
        return ["*", f"-{node[1]}", *node[2:]]
    return f"-{node}" if isinstance(node, str) and node.isdigit() else ["*", "-1", node]
