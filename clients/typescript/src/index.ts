export { type ClientOptions, TodoClient } from "./client.js";
export { type FieldProblem, type Problem, ProblemError, unwrap } from "./problem.js";
export type { components, operations, paths } from "./schema.js";
export { memoryStore, type Session, type Tokens, type TokenStore } from "./session.js";
export type { Notification, StreamOptions } from "./stream.js";
