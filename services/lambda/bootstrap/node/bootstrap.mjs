// Runs a Node.js handler: reads invocations from the server's socket and answers them. See python/bootstrap.py for the frames.
import { existsSync, writeSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { Writable } from "node:stream";
import { pathToFileURL } from "node:url";
import { format, types } from "node:util";

const env = process.env;
const task = env.LAMBDA_TASK_ROOT ?? "/var/task";
const isJson = env.AWS_LAMBDA_LOG_FORMAT === "JSON";
const RANK = { TRACE: 0, DEBUG: 1, INFO: 2, WARN: 3, ERROR: 4, FATAL: 5 };
const least = RANK[env.AWS_LAMBDA_LOG_LEVEL] ?? 0;
for (const name of ["CUMULO_LAYERS_ROOT", "CUMULO_EXTRA_PACKAGES"]) delete env[name];
let current;

function emit(text) {
  const data = Buffer.from("\x1e" + text.replace(/\n+$/, "").replaceAll("\n", "\x1e") + "\n");
  for (let at = 0; at < data.length; ) {
    try {
      at += writeSync(1, data, at);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
    }
  }
}

function log(level, parts) {
  if (isJson && RANK[level] < least) return;
  const time = new Date().toISOString();
  if (isJson) {
    const record = { timestamp: time, level, requestId: current };
    const only = parts.length === 1 ? parts[0] : undefined;
    if (only instanceof Error) Object.assign(record, fault(only));
    else record.message = typeof only === "object" ? only : format(...parts);
    emit(JSON.stringify(record));
  } else {
    emit(`${time}\t${current}\t${level}\t${format(...parts)}`);
  }
}
for (const [name, level] of [["log", "INFO"], ["info", "INFO"], ["debug", "DEBUG"], ["warn", "WARN"], ["error", "ERROR"], ["trace", "TRACE"], ["fatal", "FATAL"]]) {
  console[name] = (...parts) => log(level, parts);
}

function fault(error) {
  if (types.isNativeError(error) || (error && error.message !== undefined && error.stack !== undefined)) {
    return { errorType: error.name ?? "Error", errorMessage: error.message, trace: (error.stack ?? "").split("\n") };
  }
  return { errorType: typeof error, errorMessage: String(error), trace: [] };
}

function failure(kind, message) {
  return Object.assign(new Error(message), { name: kind });
}

function logFault(prefix, error) {
  const shown = fault(error);
  const body = { errorType: shown.errorType, errorMessage: shown.errorMessage };
  for (const key of Object.keys(error instanceof Error ? error : {})) if (!(key in body) && key !== "name") body[key] = error[key];
  body.stack = shown.trace;
  emit(`${new Date().toISOString()}\t${current}\tERROR\t${prefix}\t${JSON.stringify(body)}`);
}

const socket = new net.Socket({ fd: 3 });
function send(header, payload = "") {
  const head = Buffer.from(JSON.stringify(header));
  const body = Buffer.from(payload);
  const lengths = Buffer.alloc(8);
  lengths.writeUInt32LE(head.length, 0);
  lengths.writeUInt32LE(body.length, 4);
  return socket.write(Buffer.concat([lengths, head, body]));
}

const STREAMING = Symbol.for("aws.lambda.runtime.handler.streaming");
globalThis.awslambda = {
  streamifyResponse(handler) {
    handler[STREAMING] = true;
    return handler;
  },
  HttpResponseStream: {
    from(stream, prelude) {
      stream.setContentType("application/vnd.awslambda.http-integration-response");
      stream.write(JSON.stringify(prelude));
      stream.write(Buffer.alloc(8));
      return stream;
    },
  },
};

class Answer extends Writable {
  #type;
  #started = false;
  setContentType(type) {
    this.#type = type;
  }
  start() {
    if (!this.#started) send({ t: "start", content_type: this.#type });
    this.#started = true;
  }
  _write(chunk, encoding, done) {
    this.start();
    if (send({ t: "chunk" }, chunk)) done();
    else socket.once("drain", done);
  }
}

async function load(name) {
  const at = name.lastIndexOf("/") + 1;
  const dot = name.indexOf(".", at);
  if (dot < 0) throw failure("Runtime.MalformedHandlerName", "Bad handler");
  const [module, rest] = [name.slice(0, dot), name.slice(dot + 1)];
  const file = [".js", ".mjs", ".cjs", ""].map((end) => path.resolve(task, module + end)).find(existsSync);
  if (!file) throw failure("Runtime.ImportModuleError", `Error: Cannot find module '${path.basename(module)}'`);
  let found;
  try {
    found = await import(pathToFileURL(file));
  } catch (error) {
    if (error instanceof SyntaxError) throw failure("Runtime.UserCodeSyntaxError", String(error));
    if (error?.code === "MODULE_NOT_FOUND" || error?.code === "ERR_MODULE_NOT_FOUND") throw failure("Runtime.ImportModuleError", String(error));
    throw error;
  }
  const pick = (from) => rest.split(".").reduce((value, key) => value?.[key], from);
  const handler = pick(found) ?? pick(found.default);
  if (handler === undefined) throw failure("Runtime.HandlerNotFound", `${name} is undefined or not exported`);
  if (typeof handler !== "function") throw failure("Runtime.HandlerNotFound", `${name} is not a function`);
  return handler;
}

function call(handler, event, context) {
  return new Promise((resolve, reject) => {
    const callback = (error, value) => (error == null ? resolve(value) : reject(error));
    Object.assign(context, { succeed: resolve, fail: reject, done: callback, callbackWaitsForEmptyEventLoop: true });
    const value = handler(event, context, callback);
    if (typeof value?.then === "function") value.then(resolve, reject);
    else if (value !== undefined && handler.length < 3) resolve(value);
  });
}

async function stream(handler, event, context) {
  const answer = new Answer();
  await handler(event, answer, context);
  if (!answer.writableFinished) {
    if (!answer.writableEnded) answer.end();
    await new Promise((resolve, reject) => answer.on("finish", resolve).on("error", reject));
  }
  answer.start();
  send({ t: "end" });
}

async function answer(handler, header, payload) {
  current = header.id;
  if (header.trace) env._X_AMZN_TRACE_ID = header.trace;
  const deadline = performance.now() + header.millis;
  const context = {
    functionName: env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
    awsRequestId: header.id,
    invokedFunctionArn: header.arn,
    clientContext: header.client_context,
    identity: undefined,
    getRemainingTimeInMillis: () => Math.max(0, Math.floor(deadline - performance.now())),
  };
  try {
    const event = payload.length ? JSON.parse(payload.toString()) : null;
    if (handler[STREAMING]) return await stream(handler, event, context);
    const value = await call(handler, event, context);
    let text;
    try {
      text = JSON.stringify(value === undefined ? null : value);
    } catch {
      throw failure("Runtime.MarshalError", "Unable to stringify response body");
    }
    send({ t: "done" }, text ?? "null");
  } catch (error) {
    logFault("Invoke Error ", error);
    send({ t: "error" }, JSON.stringify(fault(error)));
  }
}

function die(kind, error) {
  const shown = fault(error);
  if (kind === "Runtime.UnhandledPromiseRejection") Object.assign(shown, { errorType: kind, errorMessage: String(error) });
  logFault(kind === "Uncaught" ? "Uncaught Exception " : "Unhandled Promise Rejection ", error);
  send({ t: "error" }, JSON.stringify(shown));
  socket.end(() => process.exit(kind === "Uncaught" ? 129 : 128));
}
process.on("uncaughtException", (error) => die("Uncaught", error));
process.on("unhandledRejection", (error) => die("Runtime.UnhandledPromiseRejection", error));

let handler;
try {
  handler = await load(env._HANDLER ?? "");
} catch (error) {
  logFault("Uncaught Exception ", error);
  send({ t: "init_error" }, JSON.stringify(fault(error)));
  socket.end(() => process.exit(1));
}

let buffer = Buffer.alloc(0);
socket.on("data", (chunk) => {
  buffer = buffer.length ? Buffer.concat([buffer, chunk]) : chunk;
  while (buffer.length >= 8) {
    const head = buffer.readUInt32LE(0);
    const end = 8 + head + buffer.readUInt32LE(4);
    if (buffer.length < end) return;
    const header = JSON.parse(buffer.subarray(8, 8 + head).toString());
    const payload = buffer.subarray(8 + head, end);
    buffer = buffer.subarray(end);
    answer(handler, header, payload);
  }
});
socket.on("end", () => process.exit(0));
if (handler) send({ t: "ready" });
