"""Where a difference of FLOPs comes from: the analytic model itself is asked, with the settings of either file."""

from fractions import Fraction

import attrs

from modelmeter.core.dims import Dim
from modelmeter.models.deepseek_ocr.config import Conventions, make_conventions
from modelmeter.report.compare.compare import Setting
from modelmeter.report.scaling_compare.compare import ScalingComparison, StagePair
from modelmeter.report.scaling_compare.predict import counted_flops

CONVENTION = "conventions."


@attrs.frozen(kw_only=True)
class Cause:
    """A convention that differs, and by what share of the analytic FLOPs the measured file's choice moves them."""

    setting: Setting
    moves: Fraction

    @property
    def name(self) -> str:
        """The convention's."""
        return self.setting.name.removeprefix(CONVENTION)


@attrs.frozen(kw_only=True)
class Causes:
    """Of one difference. `unexplained` is what is left of it with the measured file's own settings.

    `configuration` is what the measured file's configuration alone changes of the analytic FLOPs, `sizes` what its
    batch size and number of steps do on top; `conventions` those that change anything, each alone. All are shares.
    """

    unexplained: Fraction
    configuration: Fraction
    sizes: Fraction
    conventions: tuple[Cause, ...]


def causes_of(found: ScalingComparison, pair: StagePair) -> Causes:
    """What a difference of counted FLOPs is made of. The pair's FLOPs were counted, and are not 0."""
    analytic, measured = found.analytic, found.measured
    assert pair.measured_flops is not None

    def counted(conventions: Conventions, batch_size: Dim, decode_steps: Dim) -> Fraction:
        sizes = {"length": pair.length, "batch_size": batch_size, "decode_steps": decode_steps}
        return counted_flops(measured.config, conventions, **sizes)[pair.stage]

    base = counted(analytic.conventions, analytic.batch_size, analytic.decode_steps)
    sized = counted(analytic.conventions, measured.batch_size, measured.decode_steps)
    whole = counted(measured.conventions, measured.batch_size, measured.decode_steps)
    found_causes = []
    for setting in found.settings:
        if setting.name.startswith(CONVENTION):
            name = setting.name.removeprefix(CONVENTION)
            one = make_conventions({**attrs.asdict(analytic.conventions), name: setting.b})
            moves = counted(one, analytic.batch_size, analytic.decode_steps) / base - 1
            if moves:
                found_causes.append(Cause(setting=setting, moves=moves))
    return Causes(
        unexplained=pair.measured_flops / whole - 1,
        configuration=base / pair.analytic_flops - 1,
        sizes=sized / base - 1,
        conventions=tuple(sorted(found_causes, key=lambda cause: -abs(cause.moves))),
    )
