// The npm package `flowcraft`: the same graphs and the same requests as the Python workers.

import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { FlowRuntime } from 'flowcraft'

async function trivial() {
  return { output: 1 }
}

function graph(shape, nodes) {
  const names = []
  const edges = []
  if (shape === 'chain') {
    for (let i = 0; i < nodes; i++) names.push(`n${i}`)
    for (let i = 1; i < nodes; i++) edges.push({ source: names[i - 1], target: names[i] })
  } else if (shape === 'fan') {
    const between = Array.from({ length: nodes - 2 }, (_, i) => `n${i}`)
    names.push('start', ...between, 'end')
    edges.push(...between.map((target) => ({ source: 'start', target })))
    edges.push(...between.map((source) => ({ source, target: 'end' })))
  } else {
    throw new Error(`no shape '${shape}'`)
  }
  return { id: shape, nodes: names.map((id) => ({ id, uses: 'trivial' })), edges }
}

let run = null

// No collection is forced here, unlike in the Python workers: in V8 that throws away compiled
// code as well, and the runs after it would be up to four times as slow as they are.
async function measure(seconds) {
  let runs = 0
  const started = performance.now()
  let now = started
  while (runs === 0 || now - started < seconds * 1000) {
    await run()
    runs += 1
    now = performance.now()
  }
  return { runs, seconds: (now - started) / 1000 }
}

async function prepare(request) {
  run = null
  const runtime = new FlowRuntime({ registry: { trivial } })
  // One object for all runs: the package keeps what it found out about it, as ours does.
  const blueprint = graph(request.shape, request.nodes)
  const first = await runtime.run(blueprint, {})
  const done = Object.keys(first.context).filter((key) => key.startsWith('_outputs.')).length
  if (first.status !== 'completed' || done !== request.nodes) {
    throw new Error(`${request.shape}: ${first.status}, ${done} of ${request.nodes} were executed`)
  }
  run = () => runtime.run(blueprint, {})
  await measure(request.warm_up_seconds)
  return {}
}

function about() {
  const path = new URL('./node_modules/flowcraft/package.json', import.meta.url)
  const { version } = JSON.parse(readFileSync(path, 'utf8'))
  return { name: 'npm package flowcraft', version: `${version}, Node ${process.versions.node}` }
}

async function answer(request) {
  if (request.do === 'about') return about()
  if (request.do === 'prepare') return prepare(request)
  if (request.do === 'measure' && run) return measure(request.seconds)
  throw new Error(`The request is not known, or comes too early: '${request.do}'`)
}

for await (const line of createInterface({ input: process.stdin })) {
  let reply
  try {
    reply = await answer(JSON.parse(line))
  } catch (error) {
    reply = { error: `${error.name}: ${error.message}` }
  }
  process.stdout.write(`${JSON.stringify(reply)}\n`)
}
