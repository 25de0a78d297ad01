"""An extension of griffe: the fields of an attrs class as the arguments that it takes.

griffe reads dataclasses and not attrs; without it the reference would show a class without saying how it is made.
"""

from importlib import import_module
from typing import Any, Final

import attrs
import griffe

NEEDS_TORCH: Final = "modelmeter.live"  # not on any page


class AttrsInit(griffe.Extension):
    """Gives each attrs class the `__init__` that attrs writes for it: annotations as written, defaults as they are."""

    def on_class(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        """Called for each class, its members known."""
        made = any(str(written.value).startswith("attrs.") for written in cls.decorators)
        if not made or "__init__" in cls.members or cls.module.path.startswith(NEEDS_TORCH):
            return
        fields = attrs.fields_dict(getattr(import_module(cls.module.path), cls.name))
        parameters = [griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)]
        parameters += [parameter(field, cls.members.get(name)) for name, field in fields.items() if field.init]
        init = griffe.Function("__init__", parameters=griffe.Parameters(*parameters), parent=cls, returns="None")
        cls.set_member("__init__", init)


def parameter(field: "attrs.Attribute[Any]", member: Any) -> griffe.Parameter:
    """A field as an argument; a default that a factory makes is shown as three dots."""
    return griffe.Parameter(
        field.name.lstrip("_") if field.alias is None else field.alias,
        annotation=member.annotation if isinstance(member, griffe.Attribute) else None,
        kind=griffe.ParameterKind.keyword_only if field.kw_only else griffe.ParameterKind.positional_or_keyword,
        default=default(field.default),
    )


def default(value: Any) -> str | None:
    """A default as Python writes it."""
    if value is attrs.NOTHING:
        return None
    return repr(value) if isinstance(value, str | int | float | tuple | None) else "..."
