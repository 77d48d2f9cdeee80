// @grpc/grpc-js, with messages that @grpc/proto-loader reads from the project's .proto files. Reads
// calls as JSON lines, {"service", "method", "request"}; writes a line for each, {"reply"} or
// {"code", "details"}. Bytes are base64.
//   node grpc_js_client.js ADDRESS PROTO_DIRECTORY
"use strict";

const readline = require("readline");

const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const [address, protos] = process.argv.slice(2);
const files = [
  "grpc_service.proto",
  "tensorflow_serving/apis/prediction_service.proto",
  "tensorflow_serving/apis/model_service.proto",
  "grpc/health/v1/health.proto",
];
const services = grpc.loadPackageDefinition(protoLoader.loadSync(files, {
  includeDirs: [protos], keepCase: true, longs: Number, enums: String, bytes: String,
}));

function stub(name) {
  const Service = name.split(".").reduce((scope, part) => scope[part], services);
  return new Service(address, grpc.credentials.createInsecure());
}

function call({ service, method, request }) {
  return new Promise((resolve) => {
    const client = stub(service);
    client[method](request, { deadline: Date.now() + 30000 }, (error, reply) => {
      client.close();
      resolve(error ? { code: grpc.status[error.code], details: error.details } : { reply });
    });
  });
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await call(JSON.parse(line))));
  }
}

main();
