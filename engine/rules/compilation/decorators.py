"""The decorators of compiled kernels.

    @kernel            compiled once, for the types of its annotations (signatures.py)
    @shared_kernel     the same; its callers call its one copy instead of compiling their own
    @internal_kernel   the same; only kernels call it, so it has no entrance for Python
    @generic_kernel    compiled once more for every type that it meets
    @inlined           its callers absorb its code: an array costs seven words at every call

Numba compiles a kernel for the types of each call, and puts the code of all that it calls, however
deep, into the kernel's own before it optimises: a function with ten callers is optimised ten times
or more. With one signature declared and the large functions shared, compiling everything takes half
of the time. Machine code is kept on disk by kernel_cache.py.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar, cast

import llvmlite.binding
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils, event, imputils, sigutils
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher
from numba.core.typing.templates import make_concrete_template
from numba.extending import intrinsic

from engine.rules.compilation.kernel_cache import KernelCache
from engine.rules.compilation.signatures import declared_types
from engine.system.interrupts import interrupts_postponed

CompileResult = Any
"""Numba's, whose fields have no types."""

F = TypeVar("F", bound=Callable[..., Any])

KERNEL_CACHE: Final = KernelCache()
_OPTIONS: Final = {
    "nopython": True,
    "nogil": True,
    "error_model": "numpy",
    "boundscheck": None,
    # An entrance for C that nobody calls would be compiled with every kernel.
    "no_cfunc_wrapper": True,
}
JIT_ENABLED: Final = os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")
"""Whether kernels are compiled; else they run as plain Python, for debuggers and coverage."""


class _Files:
    """What numba's dispatcher asks of a cache, for one kernel."""

    def __init__(self, owner: "GenericKernel") -> None:
        self._owner = owner

    def load_overload(self, signature: Any, context: Any) -> CompileResult | None:
        """The kept code for argument types, None where there is none."""
        context.refresh()
        # The code is tied to its shared callees by name, so they must be there first.
        for callee in self._owner.shared_callees():
            callee.prepare()
        return KERNEL_CACHE.load(KERNEL_CACHE.path(self._owner.full_name, signature), context)

    def save_overload(self, signature: Any, result: CompileResult) -> None:
        """Keep compiled code, if it may run in another process."""
        if not result.library.has_dynamic_globals:
            KERNEL_CACHE.save(KERNEL_CACHE.path(self._owner.full_name, signature), result)


class GenericKernel(CPUDispatcher):
    """Numba's dispatcher with our files."""

    # Numba's own, which it declares in C or nowhere.
    _can_compile: bool
    _compiler: Any

    def __init__(self, py_func: Any, locals: Any = None, targetoptions: Any = None) -> None:
        super().__init__(py_func, locals or {}, targetoptions or dict(_OPTIONS))
        self._cache = _Files(self)

    @property
    def full_name(self) -> str:
        """`engine.rules.kernels.generate`."""
        return f"{self.py_func.__module__}.{self.py_func.__qualname__}"

    def compile(self, sig: Any) -> Any:
        """Load or compile the code for a signature, whole, whatever signals come meanwhile."""
        with interrupts_postponed():
            return super().compile(sig)

    def callees(self) -> Iterator["GenericKernel"]:
        """The kernels that its code names."""
        for name in self.py_func.__code__.co_names:
            callee = self.py_func.__globals__.get(name)
            if isinstance(callee, GenericKernel) and callee is not self:
                yield callee

    def shared_callees(self) -> list["Kernel"]:
        """The nearest shared kernels below it."""
        found: dict[str, Kernel] = {}
        seen: set[str] = {self.full_name}
        waiting = list(self.callees())
        while waiting:
            callee = waiting.pop()
            if callee.full_name in seen:
                continue
            seen.add(callee.full_name)
            if isinstance(callee, Kernel) and callee.is_shared:
                found[callee.full_name] = callee
            else:
                waiting += callee.callees()
        return list(found.values())


class Kernel(GenericKernel):
    """A kernel of one signature, that of its annotations.

    `is_shared`: its callers call it by its name; `is_internal`: Python cannot call it.
    """

    is_shared = False
    is_internal = False

    def prepare(self) -> None:
        """Load or compile it; a call does so first where needed."""
        with global_compiler_lock:
            if self._can_compile and not self.is_compiling:
                self.compile(self.declared)
                # From here on another type is an error instead of another compilation.
                self.disable_compile()

    @property
    def declared(self) -> tuple[types.Type, ...]:
        """The types of its parameters; raises TypeError where one has none."""
        return declared_types(self.py_func)

    @property
    def is_kept(self) -> bool:
        """Whether its code lies in a file."""
        return KERNEL_CACHE.path(self.full_name, self.declared).exists()

    def _compile_for_args(self, *args: Any, **kws: Any) -> Any:
        """What the first call from Python comes to; raises TypeError for arguments that misfit."""
        if self.is_internal:
            raise TypeError(f"{self.full_name} is called by kernels only")
        self.prepare()
        declared = self.declared
        for place, (argument, wanted) in enumerate(zip(args, declared, strict=True)):
            given = self.typeof_pyval(argument)
            if given != wanted and self.typingctx.can_convert(given, wanted) is None:
                name = self.py_func.__code__.co_varnames[place]
                raise TypeError(f"{self.full_name}({name}) is {given}, not {wanted}")
        compiled: CompileResult = self.overloads[declared]
        return compiled.entry_point

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """For a caller that is being compiled: this kernel's one signature."""
        self.prepare()
        signature, folded = self._compiler.fold_argument_types(args, kws)
        name = self.py_func.__name__
        template = make_concrete_template(
            f"CallTemplate({name})", key=name, signatures=self.nopython_signatures
        )
        return template, signature, folded, {}

    def add_overload(self, cres: CompileResult) -> None:
        """Take in compiled or loaded code."""
        if self.is_internal:
            # Without an entrance there is nothing for Python to find.
            self.overloads[tuple(cres.signature.args)] = cres
        else:
            super().add_overload(cres)
        if self.is_shared:
            self._publish(cres)

    def _publish(self, cres: CompileResult) -> None:
        """Give the machine code its name, and tell numba how a caller calls it by that."""
        symbol = f"pawnscope.{self.full_name}"
        address = cres.library.get_pointer_to_function(cres.fndesc.llvm_func_name)
        llvmlite.binding.add_symbol(symbol, address)

        def call(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            convention, result_type = context.call_conv, signature.return_type
            function_type = convention.get_function_type(result_type, signature.args)
            function = cgutils.get_or_insert_function(builder.module, function_type, symbol)
            status, result = convention.call_function(
                builder, function, result_type, signature.args, arguments
            )
            with cgutils.if_unlikely(builder, status.is_error):
                convention.return_status_propagate(builder, status)
            return imputils.fix_returning_optional(context, builder, signature, status, result)

        self.targetctx.insert_func_defn([(call, symbol, tuple(cres.signature.args))])

    def get_overload(self, sig: Any) -> Any:
        """What a caller's code is made to call."""
        if self.is_shared:
            args, _ = sigutils.normalize_signature(sig)
            if tuple(args) in self.overloads:
                return f"pawnscope.{self.full_name}"
        return super().get_overload(sig)


_KERNELS: Final[list[Kernel]] = []


def kernels() -> tuple[Kernel, ...]:
    """All kernels of one signature that the imported modules hold."""
    return tuple(_KERNELS)


def _decorator(*, is_shared: bool = False, is_internal: bool = False) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        if not JIT_ENABLED:
            return function
        made = Kernel(function, None, _OPTIONS | {"no_cpython_wrapper": is_internal})
        made.is_shared, made.is_internal = is_shared, is_internal
        _KERNELS.append(made)
        return cast(F, made)

    return decorate


kernel: Final = _decorator()
"""Compile to machine code, for Python and for other kernels; it trusts its input."""
shared_kernel: Final = _decorator(is_shared=True)
"""As `kernel`, with one copy of its code for all callers: for large ones with several."""
internal_kernel: Final = _decorator(is_internal=True)
"""As `kernel`, without an entrance for Python, which takes a third of a small one's code."""


def generic_kernel(function: F) -> F:
    """As `kernel`, compiled for every type that it is called with: for sizes fixed in the code."""
    return cast(F, GenericKernel(function)) if JIT_ENABLED else function


def inlined(function: F) -> F:
    """As `kernel`, but its callers absorb its code: an array costs seven words at every call."""
    options = _OPTIONS | {"inline": "always"}
    return cast(F, GenericKernel(function, None, options)) if JIT_ENABLED else function


if not JIT_ENABLED:

    def lowest_bit(bitmap: int) -> int:
        """The number of the lowest set bit of a bitmap that is not empty."""
        return (int(bitmap) & -int(bitmap)).bit_length() - 1

else:

    @intrinsic
    def lowest_bit(typing_context: Any, bitmap: Any) -> Any:
        """The number of the lowest set bit of a bitmap that is not empty: one instruction."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

        return types.int64(types.int64), generate


@inlined
def copy_into(target: npt.NDArray[Any], source: npt.NDArray[Any]) -> None:
    """Copy a vector into one as long or longer: numba's slice assignment compiles for seconds."""
    for index in range(source.shape[0]):
        target[index] = source[index]


class _FirstCompilation(event.Listener):
    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def on_start(self, event: event.Event) -> None:
        if self._callback is not None:
            self._callback()
            self._callback = None

    def on_end(self, event: event.Event) -> None:
        pass


def on_compile(callback: Callable[[], None]) -> None:
    """Call back once, when this process first compiles a kernel instead of loading it."""
    event.register("numba:compile", _FirstCompilation(callback))
