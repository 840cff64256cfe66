"""Arithmetic from text, without ``eval``: numbers, operators and a few functions, each bounded. Pure."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping

Number = int | float
_CHARS_MAX = 500
_BITS_MAX = 1024
_DIGITS_MAX = 400
_BINARY: Mapping[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: Mapping[type[ast.unaryop], Callable[[Number], Number]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}


def _round(value: Number, digits: Number | None = None) -> Number:
    """``round``, with few digits only: to round a whole number to -n digits, Python computes 10**n, and nothing can stop it."""
    if digits is None:
        return round(value)
    if not isinstance(digits, int):
        raise TypeError("a number is rounded to a whole number of digits")
    if abs(digits) > _DIGITS_MAX:
        raise OverflowError(f"a number is rounded to {_DIGITS_MAX} digits at the most")
    return round(value, digits)


_FUNCTIONS: Mapping[str, Callable[..., Number]] = {
    "abs": abs,
    "ceil": math.ceil,
    "cos": math.cos,
    "exp": math.exp,
    "floor": math.floor,
    "log": math.log,
    "max": max,
    "min": min,
    "round": _round,
    "sin": math.sin,
    "sqrt": math.sqrt,
    "tan": math.tan,
}
_CONSTANTS: Mapping[str, Number] = {"pi": math.pi, "e": math.e}


def calculate(expression: str) -> Number:
    """The value of an expression such as ``2 * (3 + 4) ** 2`` or ``sqrt(2) / pi``.

    Raises:
        ValueError: it is no such expression, or too long; its value is too large or does not exist.
    """
    if len(expression) > _CHARS_MAX:
        raise ValueError(f"an expression has {_CHARS_MAX} characters at the most")
    try:
        value = _value(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError("that is no arithmetic expression") from error
    except ZeroDivisionError as error:
        raise ValueError("there is a division by zero") from error
    except (OverflowError, TypeError) as error:
        raise ValueError(str(error)) from error
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("the result is no number, or too large")
    return value


def _value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return _bounded(value)
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_value(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            first, second = _value(left), _value(right)
            if isinstance(op, ast.Pow):
                _refuse_large_power(first, second)
            return _bounded(_BINARY[type(op)](first, second))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return _bounded(_FUNCTIONS[name](*map(_value, arguments)))
        case _:
            raise ValueError(
                f"{ast.unparse(node)!r} is not allowed: use numbers, + - * / // % **, {', '.join(_FUNCTIONS)}"
            )


def _bounded(value: Number) -> Number:
    if isinstance(value, complex):
        raise TypeError("the result is not a real number")
    if isinstance(value, int) and value.bit_length() > _BITS_MAX:
        raise OverflowError("a number is too large")
    return value


def _refuse_large_power(base: Number, exponent: Number) -> None:
    """Before it is computed: that alone could take for ever."""
    both_whole = isinstance(base, int) and isinstance(exponent, int)
    if both_whole and abs(exponent) * max(1, abs(int(base)).bit_length()) > _BITS_MAX:
        raise OverflowError("a power is too large")
