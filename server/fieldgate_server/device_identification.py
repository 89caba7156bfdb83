"""The objects that a device tells about itself by function 43/14, as the Python API sets them."""

from __future__ import annotations

from collections.abc import ItemsView, Mapping
from itertools import chain

from fieldgate_server.identification import LONGEST_OBJECT

_VENDOR_NAME, _PRODUCT_CODE, _REVISION, _VENDOR_URL, _PRODUCT_NAME, _MODEL_NAME, _APPLICATION_NAME = range(7)


class DeviceIdentification:
    """Identification objects by id, 0 to 255; 0 to 6 are the standard's own (V1.1b3, 6.21).

    A value is bytes, at most 244 of them. Items may be set at any time, also while a server shows them.
    """

    def __init__(  # noqa: PLR0913
        self,
        vendor_name: bytes = b"",
        product_code: bytes = b"",
        major_minor_revision: bytes = b"",
        vendor_url: bytes = b"",
        product_name: bytes = b"",
        model_name: bytes = b"",
        user_application_name: bytes = b"",
        objects_id: Mapping[int, bytes] | None = None,
    ) -> None:
        """`objects_id` gives further objects by id. Raises TypeError and ValueError as setting an item does."""
        self._objects: dict[int, bytes] = {}
        named = (
            vendor_name,
            product_code,
            major_minor_revision,
            vendor_url,
            product_name,
            model_name,
            user_application_name,
        )
        for key, value in chain(enumerate(named), (objects_id or {}).items()):
            self[key] = value

    def __getitem__(self, key: int) -> bytes:
        """Give the object with this id. Raises KeyError if there is none, TypeError if the key is no int."""
        return self._objects[_object_id(key)]

    def __setitem__(self, key: int, value: bytes) -> None:
        """Set an object.

        Raises TypeError if the key is no int or the value no bytes, ValueError for a key outside 0 to 255 or a value
        that no reply could hold.
        """
        if not 0 <= _object_id(key) <= 255:
            raise ValueError(f"an object id is 0 to 255, not {key}")
        if not isinstance(value, bytes):
            raise TypeError(f"object {key} must be bytes, not {type(value).__name__}")
        if len(value) > LONGEST_OBJECT:
            raise ValueError(f"object {key} has {len(value)} bytes, and no reply holds more than {LONGEST_OBJECT}")
        self._objects[key] = value

    def __repr__(self) -> str:
        return f"{type(self).__name__}(objects_id={dict(self.items())!r})"

    def items(self) -> ItemsView[int, bytes]:
        """Give all pairs of object id and value, by rising id, as they are now. A server does not call an override."""
        # copied in one step, as another thread may be setting one
        return dict(sorted(self._objects.copy().items())).items()

    @property
    def vendor_name(self) -> bytes:
        """Object 0."""
        return self[_VENDOR_NAME]

    @property
    def product_code(self) -> bytes:
        """Object 1."""
        return self[_PRODUCT_CODE]

    @property
    def major_minor_revision(self) -> bytes:
        """Object 2."""
        return self[_REVISION]

    @property
    def vendor_url(self) -> bytes:
        """Object 3."""
        return self[_VENDOR_URL]

    @property
    def product_name(self) -> bytes:
        """Object 4."""
        return self[_PRODUCT_NAME]

    @property
    def model_name(self) -> bytes:
        """Object 5."""
        return self[_MODEL_NAME]

    @property
    def user_application_name(self) -> bytes:
        """Object 6."""
        return self[_APPLICATION_NAME]


class Shown:
    """An identification as a server reads it: by nothing that a subclass overrides, as an event loop waits for it."""

    def __init__(self, identification: DeviceIdentification) -> None:
        self._identification = identification

    def items(self) -> ItemsView[int, bytes]:
        """Give all pairs of object id and value, by rising id, as they are now."""
        return DeviceIdentification.items(self._identification)


def _object_id(key: object) -> int:
    if not isinstance(key, int):
        raise TypeError(f"an object id must be an int, not {type(key).__name__}")
    return key
