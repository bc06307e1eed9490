"""What an object works out of itself once, and keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class once(Generic[T]):  # noqa: N801 it is written as a decorator, as `property` is
    """A property that is worked out when it is first read.

    `functools.cached_property` writes it past the object, into its `__dict__`, after which the interpreter reads every
    other field of that object five times as slowly.
    """

    def __init__(self, work_out: Callable[[Any], T]) -> None:
        self._work_out = work_out
        self.__doc__ = work_out.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, one: None, owner: type) -> once[T]: ...
    @overload
    def __get__(self, one: object, owner: type) -> T: ...
    def __get__(self, one: object, owner: type) -> once[T] | T:
        """Work it out; what is kept is found without this."""
        if one is None:
            return self
        found = self._work_out(one)
        object.__setattr__(one, self._name, found)  # of objects that nobody else may change, too
        return found
