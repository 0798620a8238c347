"""The fields of optax's named tuples, which a pickle stores by position alone.

Gathered from optax 0.0.1 to 0.2.8. Classes moved between modules over the years, so a class is known by its name
in any of optax's modules; where versions differ in the number of fields, the number says which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ckpt_core.pickles.constructors import Constructor
from ckpt_core.tree import Record

__all__ = ["FIELDS", "OPTAX"]

_MODULES: Final = """
_src.alias _src.base _src.combine _src.constrain _src.control_variates _src.experimental.complex_valued
_src.factorized _src.linesearch _src.lookahead _src.numerics _src.privacy _src.schedule _src.transform
_src.wrappers contrib._ademamix contrib._acprop contrib._adopt contrib._cocob contrib._complex_valued
contrib._dadapt_adamw contrib._dog contrib._galore contrib._madgrad contrib._mechanic contrib._momo
contrib._muon contrib._privacy contrib._prodigy contrib._reduce_on_plateau contrib._sam
contrib._schedule_free contrib._sophia contrib.cocob contrib.complex_valued contrib.dadapt_adamw
contrib.mechanic contrib.privacy contrib.prodigy contrib.reduce_on_plateau experimental._aggregating
schedules._inject transforms._accumulation transforms._adding transforms._combining
transforms._conditionality transforms._constraining transforms._masking transforms._monitoring
"""

_TABLE: Final = """
AccumulateAvgUpdatesState: micro_step ready avg_grad
AddNoiseState: count rng_key
ApplyEvery: count grad_acc
ApplyIfFiniteState: notfinite_count last_finite total_notfinite inner_state
BacktrackingLineSearchState: learning_rate new_value new_grad decrease_error iter_num
BacktrackingLinesearchInfo: num_linesearch_steps decrease_error
BacktrackingSearchState: learning_rate new_value new_grad accepted iter_num
COCOBState: init_particles cumulative_gradients scale subgradients reward
ConditionallyMaskState: step inner_state
ConditionallyTransformState: inner_state step
DAdaptAdamWState: exp_avg exp_avg_sq grad_sum estim_lr numerator_weighted count
DifferentiallyPrivateAggregateState: rng_key
DoGState: is_init_step init_params max_dist sum_sq_norm_grads
DoWGState: init_params weighted_sq_norm_grads estim_sq_dist
EmaState: count ema
FactoredParameterStats: v_row v_col v
FactoredState: count v_row v_col v
GaLoreDimensionNumbers: reduction_axis output_axis
GaLoreState: count base_optimizer_state projector
GradientTransformation: init update
GradientTransformationExtraArgs: init update
HutchinsonState: key
InjectHyperparamsState: count hyperparams inner_state
InjectStatefulHyperparamsState: count hyperparams hyperparams_states inner_state
LookaheadParams: fast slow
LookaheadState: fast_state steps_since_sync
MadgradState: count grad_sum_sq s x0
MaskedState: inner_state
MaybeUpdateState: inner_state step
MechanicState: base_optimizer_state count r m v s x0
MomoAdamState: exp_avg exp_avg_sq barf gamma lb count
MomoState: exp_avg barf gamma lb count
MonitorState: measurements measure_states
MultiStepsState: mini_step gradient_step inner_opt_state acc_grads | mini_step gradient_step
  inner_opt_state acc_grads skip_state
MultiTransformState: inner_states
MuonDimensionNumbers: reduction_axis output_axis
MuonState: count mu ns_coeffs
PartitionState: inner_states
PerElementMeanAndSumSqDiffGradsState: micro_step ready mean_grads sum_sq_diff_grads
PerElementMeanAndVarianceEMAState: count ema_decay mean_grads_ema variance_grads_ema
ProdigyState: exp_avg exp_avg_sq grad_sum params0 estim_lr numerator_weighted count
ReduceLROnPlateauState: scale best_value plateau_count cooldown_count count avg_value | lr best_loss
  plateau_count cooldown_counter
SAMState: steps_since_sync opt_state adv_state cache
ScaleByAdaDeltaState: e_g e_x
ScaleByAdamState: count mu nu
ScaleByAdanState: m v n g t
ScaleByAdemamixState: count count_m2 m1 m2 nu
ScaleByAmsgradState: count mu nu nu_max
ScaleByBacktrackingLinesearchState: learning_rate value grad | learning_rate value grad info
ScaleByBeliefState: count mu nu
ScaleByDistanceOverGradientsState: max_dist grad_sum_of_squares init_params
ScaleByFromageState: count
ScaleByLBFGSState: count params updates diff_params_memory diff_updates_memory weights_memory
ScaleByLionState: count mu
ScaleByNovogradState: count mu nu
ScaleByOptimisticGradientState: is_initial_step previous_gradient
ScaleByRStdDevState: mu nu
ScaleByRStdDevWithCountState: count mu nu
ScaleByRmsState: nu
ScaleByRmsWithCountState: count nu
ScaleByRpropState: step_sizes prev_updates
ScaleByRssState: sum_of_squares
ScaleBySM3State: mu nu
ScaleByScheduleState: count
ScaleBySimplifiedAdEMAMixState: t m n
ScaleByZoomLinesearchState: learning_rate value grad info
ScheduleFreeState: b1 weight_sum step_count max_lr base_optimizer_state z
SnapshotState: measurement
SophiaState: count mu nu hessian_fn_state
SplitRealAndImaginaryArrays: real imaginary
SplitRealAndImaginaryState: inner_state
TraceState: trace
WeightDecaySchedule: count
WrappedScheduleState: count
ZeroNansState: found_nan
ZoomLinesearchInfo: num_linesearch_steps decrease_error curvature_error
ZoomLinesearchState: count params updates stepsize_guess stepsize value grad slope value_init slope_init
  decrease_error curvature_error error interval_found done failed low value_low slope_low high value_high
  slope_high cubic_ref value_cubic_ref safe_stepsize safe_value safe_grad
"""


def _parsed(table: str) -> dict[str, tuple[tuple[str, ...], ...]]:
    lines = table.replace("\n  ", " ").strip().splitlines()
    return {
        name: tuple(tuple(version.split()) for version in fields.split("|"))
        for name, _, fields in (line.partition(":") for line in lines)
    }


FIELDS: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = _parsed(_TABLE)
"""For each class, the names of its fields in each of its versions."""


def _tuple(name: str, versions: tuple[tuple[str, ...], ...]) -> Callable[[tuple[Any, ...]], Any]:
    def call(args: tuple[Any, ...]) -> Any:
        for fields in versions:
            if len(fields) == len(args):
                return Record(name, zip(fields, args, strict=True))
        return NotImplemented

    return call


OPTAX: Final[Mapping[str, Constructor]] = {
    name: Constructor(_tuple(name, versions))
    for module in _MODULES.split()
    for cls, versions in FIELDS.items()
    for name in (f"optax.{module}.{cls}",)
}
