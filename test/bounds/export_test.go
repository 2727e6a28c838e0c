package bounds

// Life is how long one call may take.
const Life = life

// Worked is how long this process has worked.
var Worked = worked
