"""The resolution controller as a reinforcement-learning environment over tables of real videos.

`ResolutionEnv` is a Gymnasium environment (one lane); `ResolutionVecEnv` steps many lanes at once for
Stable-Baselines3, fast enough that the policy's network is the slow part. Both look results up in a
`World`; the observation is `device.resolution_policies.observe`, the very function the glasses call.

An episode is a stretch of one clip. Its first frame runs in full, as a moment does. The reward of a frame is
the quality of what was delivered minus the price of the energy spent (in always-320s); the weight of energy
is drawn anew for each episode and is part of the observation, so one policy serves the whole curve. The
hard bounds of the stage are applied to the action before it takes effect.

`keys=True` is the budgeted key scheduler in the manner of the RL key-frame paper: two actions (reuse, run at
320), reward only for keys (what the key gains over reuse on its frame), the end of the episode when the
share of keys (over the last two seconds, as it is observed) exceeds the budget. What it sees is
deviation, the distance to the last key, the key share and the budget (in the place of the weight).
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from device.resolution_policies import FULL, LADDER, LARGEST, OBSERVED, Floats, observe
from models.resolution import KEY_SEEN, LARGEST_BUDGET, LEAST_BUDGET
from models.resolution_table import OWN
from models.resolution_world import Costs, Ints, Lanes, World, price

EPISODE_FRAMES = 96

_KEY_MASK = np.array([name in KEY_SEEN for name in OBSERVED], np.float32)


def budget(weight: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Largest share of keys for a weight of energy 0..1."""
    span = LEAST_BUDGET / LARGEST_BUDGET
    return np.asarray(LARGEST_BUDGET * span ** np.asarray(weight))


def masked(observation: Floats) -> Floats:
    """The part of an observation the key scheduler sees."""
    return observation * _KEY_MASK


class Episodes:
    """B lanes that begin anew when their episode ends: what both environments are made of."""

    def __init__(
        self, world: World, costs: Costs, lanes: int, seed: int | None, *, keys: bool = False
    ) -> None:
        self.world, self.keys = world, keys
        self._energy = costs.per_action("seeing") / costs.full_ms
        self._rng = np.random.default_rng(seed)
        self._count = lanes
        blank = np.zeros(lanes, np.intp)
        self.state = Lanes(world, blank, blank)
        self.weight = np.zeros(lanes)
        self._end = blank.copy()
        self.begin(np.ones(lanes, bool))

    def begin(self, which: NDArray[np.bool_]) -> None:
        """New episodes for the lanes marked: any clip, each alike, from any frame of it."""
        count = int(which.sum())
        if not count:
            return
        clip = self._rng.integers(0, len(self.world.frames), count)
        length = np.minimum(EPISODE_FRAMES, self.world.frames[clip])
        start = (self._rng.random(count) * (self.world.frames[clip] - length + 1)).astype(np.intp)
        weight = self._rng.random(count)
        most = budget(weight) if self.keys else np.float64(0.6)
        share = (self._rng.random(count) * most).astype(np.float32)
        self.state.begin(which, clip, start, share)
        self.weight[which], self._end[which] = weight, start + length

    def observe(self) -> Floats:
        """(B, len(OBSERVED)) before the decision."""
        seen = observe(self.state.measures(), self.state.share, self.weight)
        seen = np.clip(seen, -LARGEST, LARGEST)
        return masked(seen) if self.keys else seen

    def step(self, actions: Ints) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Apply actions (indices into LADDER); reward and whether the episode is over, (B,)."""
        state = self.state
        measures = state.measures()
        taken = state.bounded(measures, actions)
        reused = state.quality()[:, OWN]
        quality = state.step(taken)[:, OWN]
        over = state.at >= self._end
        if not self.keys:
            spent = self._energy[taken] + self._energy[-1] * state.embedded
            return quality - price(self.weight) * spent, over
        reward = np.where(taken > 0, quality - reused, 0.0)
        return reward, over | (state.share > budget(self.weight))


class ResolutionEnv(gym.Env[Floats, int]):
    """One lane, for Gymnasium's checker and for anyone who wants to try an agent of their own."""

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own form

    def __init__(self, world: World, costs: Costs, *, keys: bool = False) -> None:
        self.observation_space = gym.spaces.Box(-LARGEST, LARGEST, (len(OBSERVED),), np.float32)
        self.action_space = gym.spaces.Discrete(2 if keys else len(LADDER))
        self._world, self._costs, self._keys = world, costs, keys
        self._lanes = Episodes(world, costs, 1, None, keys=keys)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        super().reset(seed=seed)
        fresh = int(self.np_random.integers(0, 2**31))
        self._lanes = Episodes(self._world, self._costs, 1, fresh, keys=self._keys)
        return self._lanes.observe()[0], {}

    def step(self, action: int) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        chosen = np.array([_ladder(int(action), self._keys)], np.intp)
        reward, over = self._lanes.step(chosen)
        # The clip ends, not the task: what lies beyond is cut off, not worth nothing.
        spent = bool(self._keys and over[0])
        seen = self._lanes.observe()[0] if not over[0] else np.zeros(len(OBSERVED), np.float32)
        return seen, float(reward[0]), spent, bool(over[0]) and not spent, {}


class ResolutionVecEnv(VecEnv):  # type: ignore[misc]
    """Many lanes in a few numpy calls."""

    def __init__(
        self, world: World, costs: Costs, lanes: int = 256, seed: int = 0, *, keys: bool = False
    ) -> None:
        one = ResolutionEnv(world, costs, keys=keys)
        super().__init__(lanes, one.observation_space, one.action_space)
        self._keys = keys
        self._lanes = Episodes(world, costs, lanes, seed, keys=keys)
        self._actions = np.zeros(lanes, np.intp)
        self._gained = np.zeros(lanes)
        self._steps = np.zeros(lanes, np.intp)

    def reset(self) -> Floats:
        self._lanes.begin(np.ones(self.num_envs, bool))
        self._gained[:], self._steps[:] = 0.0, 0
        return self._lanes.observe()

    def step_async(self, actions: NDArray[np.int64]) -> None:
        self._actions = _ladder(actions.astype(np.intp), self._keys)

    def step_wait(self) -> VecEnvStepReturn:
        reward, over = self._lanes.step(self._actions)
        self._gained += reward
        self._steps += 1
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if over.any():
            state = self._lanes.state
            state.at = np.minimum(state.at, self._lanes.world.frames[state.clip] - 1)
            state.ran = np.minimum(state.ran, state.at)
            state.looked = np.minimum(state.looked, state.at)
            last = self._lanes.observe()
            for lane in np.flatnonzero(over):
                infos[lane]["terminal_observation"] = last[lane]
                infos[lane]["TimeLimit.truncated"] = not self._keys
                episode = {"r": float(self._gained[lane]), "l": int(self._steps[lane]), "t": 0.0}
                infos[lane]["episode"] = episode
            self._lanes.begin(over)
            self._gained[over], self._steps[over] = 0.0, 0
        return self._lanes.observe(), reward.astype(np.float32), over, infos

    def close(self) -> None:
        return

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name, None)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        setattr(self, attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any
    ) -> list[Any]:
        raise NotImplementedError(f"{method_name}: the lanes are not environments of their own")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


def _ladder(action: Any, keys: bool) -> Any:
    """An action of either environment as an index into LADDER."""
    return action * FULL if keys else action
