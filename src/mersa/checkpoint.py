"""The state of a fit on disk, from which one that was killed goes on."""

import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from mersa.errors import RunError, first_line
from mersa.files import write_whole

F = TypeVar("F")


class Stateful(Protocol):
    """A network, an optimiser or a scheduler."""

    def state_dict(self) -> dict[str, Any]:
        """Return what it holds."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Take what `state_dict` returned."""
        ...


def store_state(path: Path, parts: Mapping[str, Stateful], fit: object) -> None:
    """Write the state of a fit, whole or not at all.

    Args:
        path: The file.
        parts: What the fit moves, by name.
        fit: A dataclass of plain values and tensors that says where the fit stands.
    """
    state = {name: one.state_dict() for name, one in parts.items()}
    buffer = io.BytesIO()  # torch reports a full disk as a RuntimeError; plain writing does not
    torch.save({**state, "fit": vars(fit)}, buffer)
    with write_whole(path) as partial:
        partial.write_bytes(buffer.getbuffer())  # without a copy: tuned encoders are large


def load_state(path: Path, parts: Mapping[str, Stateful], kind: Callable[..., F], *, of: str) -> F:
    """Put the parts into a stored state, and return where the fit stood.

    Args:
        path: What `store_state` wrote.
        parts: The same parts, freshly made.
        kind: The dataclass that says where the fit stands.
        of: What messages call the fit.

    Raises:
        RunError: If the file does not hold such a state.
    """
    try:
        state: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        for name, one in parts.items():
            one.load_state_dict(state[name])
        return kind(**state["fit"])
    except (
        OSError,
        RuntimeError,
        KeyError,
        ValueError,
        EOFError,
        TypeError,
        pickle.UnpicklingError,
    ) as error:
        raise RunError(
            f"{path} does not hold the state of this {of} ({first_line(error)}); remove it to "
            "begin anew"
        ) from None
