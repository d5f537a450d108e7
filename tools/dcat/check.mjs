// Reads the feed as others do, and says what is wrong with it.
//
//   node check.mjs SHAPES... < DOCUMENTS
//
// DOCUMENTS has a JSON object on every line: {name, files, hash, shacl}. Each of
// the files, by its suffix .ttl, .jsonld or .rdf, must have the hash: SHA-256 of
// the canonical form (URDNA2015) in hexadecimal. Documents with shacl true are
// validated against every file of shapes. Prints a line for every fault, and
// exits with 1 when there was one.
import fs from 'node:fs';
import crypto from 'node:crypto';
import { Parser, Store } from 'n3';
import * as canonize from 'rdf-canonize';
import { JsonLdParser } from 'jsonld-streaming-parser';
import { RdfXmlParser } from 'rdfxml-streaming-parser';
import SHACLValidator from 'rdf-validate-shacl';

const stream = (parser, text) => new Promise((done, fail) => {
  const quads = [];
  parser.on('data', (q) => quads.push(q)).on('end', () => done(quads)).on('error', fail);
  parser.write(text);
  parser.end();
});

const read = {
  ttl: async (text) => new Parser({ format: 'text/turtle' }).parse(text),
  jsonld: (text) => stream(new JsonLdParser(), text),
  rdf: (text) => stream(new RdfXmlParser(), text),
};

// The canonical form is ordered by code points; the library orders by UTF-16.
const ordered = (text) => text.split(/(?<=\n)/).map((line) => Buffer.from(line)).sort(Buffer.compare).join('');

// The shared nodes are few (codes of authorities), so that many documents can be
// validated together: their own addresses differ.
const together = 50;
const shapes = process.argv.slice(2).map((file) => ({
  file,
  validator: new SHACLValidator(new Store(new Parser().parse(fs.readFileSync(file, 'utf8')))),
}));
let faults = 0;
let triples = 0;
const fault = (text) => { faults++; if (faults <= 50) console.log(text); };

async function validate(quads, names) {
  for (const { file, validator } of shapes) {
    const report = await validator.validate(new Store(quads));
    for (const r of report.results) {
      fault(`${names}: ${file}: ${r.focusNode?.value} ${r.path?.value} ${r.sourceConstraintComponent?.value}`);
    }
  }
}

let pending = [];
let names = [];
for (const line of fs.readFileSync(0, 'utf8').split('\n')) {
  if (!line) continue;
  const document = JSON.parse(line);
  let quads;
  for (const file of document.files) {
    try {
      quads = await read[file.replace(/.*\./, '')](fs.readFileSync(file, 'utf8'));
      const canonical = ordered(await canonize.canonize(quads, { algorithm: 'URDNA2015' }));
      const hash = crypto.createHash('sha256').update(canonical).digest('hex');
      if (hash !== document.hash) fault(`${document.name}: ${file} has another graph: ${hash}`);
    } catch (err) {
      fault(`${document.name}: ${file}: ${err.message}`);
    }
  }
  triples += quads?.length ?? 0;
  if (!document.shacl || !quads) continue;
  pending.push(...quads);
  names.push(document.name);
  if (names.length === together) {
    await validate(pending, names.join(' '));
    pending = [];
    names = [];
  }
}
if (names.length > 0) await validate(pending, names.join(' '));
console.log(`${triples} triples, ${faults} faults`);
process.exit(faults ? 1 : 0);
