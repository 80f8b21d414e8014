// Debian's sqlite3 with a database in memory. The host's expected output comes from Node's own SQLite.

import { DatabaseSync } from 'node:sqlite';
import type { Mode, Row } from './row.ts';

const INSERTS = { quick: 2_000, short: 20_000, standard: 200_000 };

/** A statement a line, with values that depend on the line's number alone. */
const statementsOf = (inserts: number): string => `WITH RECURSIVE line(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM line
  WHERE i < ${inserts})
SELECT printf('INSERT INTO orders VALUES(%d, %d, %d, ''item %d'');', i, i * 7919 % 1009, i * 104729 % 100003, i % 97)
  FROM line;`;

const TABLES = `CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INTEGER, price INTEGER, item TEXT);
CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT, city INTEGER);
INSERT INTO customers WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 1008)
  SELECT i, 'customer ' || i, i * 31 % 50 FROM n;
BEGIN;`;

const QUERIES = [
  'SELECT count(*), sum(price) FROM orders;',
  `SELECT city, count(*), sum(price) FROM orders JOIN customers ON customers.id = orders.customer
     GROUP BY city ORDER BY 3 DESC LIMIT 3;`,
  `SELECT count(*), max(a.price + b.price) FROM orders a JOIN orders b ON b.customer = a.customer AND b.id > a.id
     WHERE a.customer < 40;`,
  `SELECT name, count(DISTINCT item) FROM customers JOIN orders ON orders.customer = customers.id
     WHERE item LIKE 'item 1%' GROUP BY name ORDER BY 2 DESC, 1 LIMIT 3;`,
];
const INDEX = 'CREATE INDEX by_customer ON orders(customer, price);';

export function sqliteRows(mode: Mode): Row[] {
  const inserts = INSERTS[mode];
  return [
    {
      name: 'sqlite',
      group: 'sqlite',
      summary: `sqlite3 in memory: ${inserts.toLocaleString('en')} inserts, an index, joins`,
      packages: ['sqlite3'],
      files: [
        { path: '/bench/statements.sql', data: statementsOf(inserts) },
        { path: '/bench/tables.sql', data: `${TABLES}\n` },
        { path: '/bench/queries.sql', data: ['COMMIT;', INDEX, ...QUERIES, ''].join('\n') },
      ],
      setUp: `sqlite3 :memory: </bench/statements.sql >/tmp/inserts.sql
cat /bench/tables.sql /tmp/inserts.sql /bench/queries.sql >/tmp/work.sql`,
      work: 'sqlite3 :memory: </tmp/work.sql',
      cleanUp: 'rm /tmp/inserts.sql /tmp/work.sql',
      expected: async () => runOnHost(inserts),
    },
  ];
}

function runOnHost(inserts: number): string {
  const database = new DatabaseSync(':memory:');
  try {
    const rowsOf = (query: string): string[] =>
      database
        .prepare(query)
        .all()
        .map((row) => Object.values(row).join('|'));
    database.exec([TABLES, ...rowsOf(statementsOf(inserts)), 'COMMIT;', INDEX].join('\n'));
    return QUERIES.flatMap(rowsOf).join('\n');
  } finally {
    database.close();
  }
}
