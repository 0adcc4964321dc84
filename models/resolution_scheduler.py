"""The budgeted key scheduler, trained by PPO (Stable-Baselines3) in the manner of the RL key-frame paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn

from models.resolution import Scheduler
from models.resolution_env import ResolutionVecEnv
from models.resolution_table import Table
from models.resolution_world import Costs, World

LANES, ROLLOUT = 128, 32
GAMMA = 0.98


def train_scheduler(
    tables: Sequence[Table],
    costs: Costs,
    *,
    seed: int = 0,
    steps: int = 400_000,
    done: Callable[[int], None] = lambda n: None,
) -> Scheduler:
    """Train on tables; `done` is told how many steps are behind."""

    class Tell(BaseCallback):  # type: ignore[misc]
        def _on_step(self) -> bool:
            done(self.num_timesteps)
            return True

    scheduler = Scheduler()
    agent = PPO(
        "MlpPolicy",
        ResolutionVecEnv(World(tables), costs, LANES, seed, keys=True),
        n_steps=ROLLOUT,
        batch_size=LANES * ROLLOUT // 2,
        n_epochs=4,
        learning_rate=1e-3,
        gamma=GAMMA,
        ent_coef=0.01,  # the paper has an entropy term; its weight is ours
        seed=seed,
        device="cpu",
        policy_kwargs={"net_arch": [32, 32], "activation_fn": nn.Tanh},
    )
    agent.learn(steps, callback=Tell())
    scheduler.body.load_state_dict(agent.policy.mlp_extractor.policy_net.state_dict())
    scheduler.head.load_state_dict(agent.policy.action_net.state_dict())
    scheduler.requires_grad_(False)
    return scheduler.eval()
