// The contract triage:policy@0.1.0 as QuickJS sees it: `u64` is a number, `none` is null or undefined.

export type Priority = "ignore" | "low" | "normal" | "high" | "critical";

export interface Event {
  id: string;
  runId: string;
  tenant: string;
  integrationId: string;
  source: string;
  eventType: string;
  idempotencyKey: string;
  orderingKey?: string | null;
  receivedAt: number;
  occurredAt?: number | null;
  late: boolean;
  attempt: number;
  contentType?: string | null;
  headers: [string, string][];
  body: Uint8Array;
}

export interface Classification {
  priority: Priority;
  category: string;
  labels: string[];
  confidencePercent: number;
  reason: string;
}

export interface Ticket {
  title: string;
  body: string;
  labels: string[];
  assignee?: string | null;
  groupKey?: string | null;
}

export type ActionContent =
  | { tag: "ticket"; val: Ticket }
  | { tag: "webhook"; val: { payload: string } }
  | { tag: "message"; val: { title: string; text: string; threadKey?: string | null } }
  | { tag: "other"; val: { kind: string; content: string } };

export interface Action {
  name: string;
  destination: string;
  content: ActionContent;
}

export interface Plan {
  summary: string;
  actions: Action[];
}

export interface PluginInfo {
  name: string;
  version: string;
  description: string;
  triggers: string[];
  labels: string[];
  categories: string[];
  settingsSchema?: string | null;
}

/** What a policy throws where it has no answer. */
export type Failure =
  | { tag: "invalid-payload"; val: string }
  | { tag: "retry"; val: { reason: string; afterMs?: number | null } }
  | { tag: "permanent"; val: string }
  | { tag: "other"; val: string };

/** What a policy exports, each under its name. */
export interface Plugin { describe(): PluginInfo }
export interface Classifier { classify(event: Event): Classification }
export interface Triager { triage(event: Event, classification: Classification): Plan }

export function invalidPayload(message: string): Failure;
export function permanent(message: string): Failure;
export function retry(reason: string, afterMs?: number): Failure;
/** The policy's settings over these defaults. */
export function settings<T extends object>(defaults: T): T;
/** The object of the body that a JSON pointer names; throws where a required field is not there. */
export function jsonAt(event: Event, pointer: string, required?: string[]): any;

declare module "triage:policy/log@0.1.0" {
  export function write(level: "debug" | "info" | "warn" | "error", message: string, fields: [string, string][]): void;
}
declare module "triage:policy/settings@0.1.0" {
  export function get(): string;
}
declare module "triage:policy/clock@0.1.0" {
  /** Milliseconds since the Unix epoch. */
  export function now(): number;
}
