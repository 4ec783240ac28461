"""Say what blocks compute in each role: one file per family, under its name in `flexsearch.schedule.families`.

Found by their place in this package. Equations are in docs/architecture.md.
"""

from importlib import import_module
from pkgutil import iter_modules

from flexsearch.models.backbones.call import Call
from flexsearch.models.roles.role_module import (
    ROLE_MODULES,
    RoleModule,
    bringing_weights,
    register_role_module,
)

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["ROLE_MODULES", "Call", "RoleModule", "bringing_weights", "register_role_module"]
