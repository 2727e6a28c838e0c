package awsenv

// OwnRoots lets the tests look into the pool that is built in.
var OwnRoots = ownRoots

// RootsPEM is the pool's source.
var RootsPEM = rootsPEM
