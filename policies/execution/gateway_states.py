"""The states of the arm gateway, what may happen to it, and the one table of transitions."""

from __future__ import annotations

from enum import Enum, auto


class GatewayState(Enum):
    """What the gateway is doing."""

    WAITING_FOR_STATE = auto()  # holding, blind: joint states are missing
    HOLDING = auto()  # ready for a trajectory
    MOVING = auto()
    ESTOPPED = auto()  # holding until reset
    FAULT = auto()  # holding until reset


class GatewayEvent(Enum):
    """What may happen to it."""

    STATE_ARRIVED = auto()
    STATE_LOST = auto()
    STATE_INVALID = auto()
    RIVAL_COMMANDS = auto()
    CLOCK_JUMPED_BACK = auto()
    TRAJECTORY_PASSED = auto()
    TRAJECTORY_REJECTED = auto()
    COMMAND_LATE = auto()
    MOTION_ENDED = auto()
    ESTOP = auto()
    RESET = auto()


_S, _E = GatewayState, GatewayEvent

# An event that has no entry for the present state changes nothing.
TRANSITIONS: dict[tuple[GatewayState, GatewayEvent], GatewayState] = {
    (_S.WAITING_FOR_STATE, _E.STATE_ARRIVED): _S.HOLDING,
    (_S.WAITING_FOR_STATE, _E.STATE_INVALID): _S.FAULT,
    (_S.WAITING_FOR_STATE, _E.RIVAL_COMMANDS): _S.FAULT,
    (_S.WAITING_FOR_STATE, _E.ESTOP): _S.ESTOPPED,
    (_S.WAITING_FOR_STATE, _E.RESET): _S.WAITING_FOR_STATE,
    (_S.HOLDING, _E.STATE_LOST): _S.WAITING_FOR_STATE,
    (_S.HOLDING, _E.STATE_INVALID): _S.FAULT,
    (_S.HOLDING, _E.RIVAL_COMMANDS): _S.FAULT,
    (_S.HOLDING, _E.CLOCK_JUMPED_BACK): _S.WAITING_FOR_STATE,
    (_S.HOLDING, _E.TRAJECTORY_PASSED): _S.MOVING,
    (_S.HOLDING, _E.TRAJECTORY_REJECTED): _S.HOLDING,
    (_S.HOLDING, _E.ESTOP): _S.ESTOPPED,
    (_S.HOLDING, _E.RESET): _S.WAITING_FOR_STATE,
    (_S.MOVING, _E.STATE_LOST): _S.WAITING_FOR_STATE,
    (_S.MOVING, _E.STATE_INVALID): _S.FAULT,
    (_S.MOVING, _E.RIVAL_COMMANDS): _S.FAULT,
    (_S.MOVING, _E.CLOCK_JUMPED_BACK): _S.WAITING_FOR_STATE,
    (_S.MOVING, _E.TRAJECTORY_PASSED): _S.MOVING,
    (_S.MOVING, _E.TRAJECTORY_REJECTED): _S.HOLDING,
    (_S.MOVING, _E.COMMAND_LATE): _S.HOLDING,
    (_S.MOVING, _E.MOTION_ENDED): _S.HOLDING,
    (_S.MOVING, _E.ESTOP): _S.ESTOPPED,
    (_S.MOVING, _E.RESET): _S.WAITING_FOR_STATE,
    (_S.ESTOPPED, _E.RESET): _S.WAITING_FOR_STATE,
    (_S.FAULT, _E.ESTOP): _S.ESTOPPED,
    (_S.FAULT, _E.RESET): _S.WAITING_FOR_STATE,
}
