package bounds

// Life is how long one call may take.
const Life = life
