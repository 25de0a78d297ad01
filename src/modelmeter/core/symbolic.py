"""SymPy, imported in this one place (extra `symbolic`)."""

try:
    import sympy
except ModuleNotFoundError as error:
    from modelmeter.core.errors import ModelMeterError

    raise ModelMeterError("formulas need SymPy: pip install 'modelmeter[symbolic]'") from error

__all__ = ["sympy"]
