"""Two clocks: the host launches kernels one after another, the device runs them one after another.

A kernel starts when it has been launched and the one before it has ended. With h and g the times at which the host and
the device are free, an operator that takes the host o and the device t seconds leaves

    h' = h + o,    g' = max(g, h + o) + t,    and h' = g' where the host waits for the device.

That is a 2 x 2 matrix in max-plus algebra (sums for products, maxima for sums), so a whole layer is one such matrix and
equal layers are one matrix applied again (Baccelli et al., Synchronization and Linearity, 1992, chapter 1).
"""

import math
from typing import NamedTuple

from modelmeter.core.dims import Dim, maximum

NEVER = -math.inf


class Clocks(NamedTuple):
    """When the host and the device are free, seconds."""

    host: Dim
    device: Dim


START = Clocks(0.0, 0.0)


class Stream(NamedTuple):
    """What some operators in order do to the clocks: `host_of_device` is what the device's clock adds to the host's."""

    host_of_host: Dim
    host_of_device: Dim
    device_of_host: Dim
    device_of_device: Dim

    def after(self, clocks: Clocks) -> Clocks:
        """The clocks when all is done."""
        host, device = clocks
        return Clocks(
            _later(_plus(host, self.host_of_host), _plus(device, self.host_of_device)),
            _later(_plus(host, self.device_of_host), _plus(device, self.device_of_device)),
        )

    def then(self, later: "Stream") -> "Stream":
        """This and then `later`, as one."""
        host = later.after(Clocks(self.host_of_host, self.device_of_host))
        device = later.after(Clocks(self.host_of_device, self.device_of_device))
        return Stream(host.host, device.host, host.device, device.device)


NOTHING = Stream(0.0, NEVER, NEVER, 0.0)


def operator(host: Dim, device: Dim, *, waits: bool) -> Stream:
    """One operator: seconds of the host and of the device; with `waits` the host goes on when the device is done."""
    if waits:
        return Stream(host + device, device, host + device, device)
    return Stream(host, NEVER, host + device, device)


# What never happens is a plain number: it spares a pass over the points of a sweep.


def _plus(time: Dim, seconds: Dim) -> Dim:
    return NEVER if time is NEVER or seconds is NEVER else time + seconds


def _later(a: Dim, b: Dim) -> Dim:
    if a is NEVER:
        return b
    return a if b is NEVER else maximum(a, b)
