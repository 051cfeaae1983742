// The thresholds that guarantee an error rate, by the rule of `Calibration.level` in app/checkpoint/calibration.py.

const START = 7.3;  // a level is tested only if at least this many errors are expected at the tested risk

// The levels with a guaranteed error rate of at most `risk`: those that are tested, until the first whose bound exceeds it.
function guaranteed({ rows, risk: levels }, risk) {
  const tested = levels.filter(({ answered }) => answered * rows * risk >= START);
  const end = tested.findIndex(({ bound }) => bound > risk);
  return end < 0 ? tested : tested.slice(0, end);
}

// Returns the level that answers the most rows among those with a guaranteed error rate of at most `risk`, or null.
export const level = (calibration, risk) => guaranteed(calibration, risk).at(-1) || null;

// The lowest error rate that is guaranteed for a level or, without one, for any level; 1 if there is none.
export function leastRisk(calibration, level_) {
  const risks = calibration.risk.flatMap(({ answered, bound }) => [START / (answered * calibration.rows), bound]);
  const holds = (levels) => (level_ ? levels.includes(level_) : levels.length);
  return risks.sort((a, b) => a - b).find((risk) => risk < 1 && holds(guaranteed(calibration, risk))) ?? 1;
}
