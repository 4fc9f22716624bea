"""What kind of force is looked for: any field, one vector, a push at a point, an air that drags.

Both solvers, that of intervals (solver.py) and that of all frames (smoothing), take a form's
functions of space from here: the first a `Field` of parameters, the second the prior's `Shapes`.
"""

from inverse.wind.forces.make import Form as Form
