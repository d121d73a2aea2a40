'use strict';
// Search, filter and order work on elements that are in the page already. Without script the page
// shows everything and the controls stay hidden.

const items = (target) => [...document.getElementById(target).querySelectorAll('[data-text]')];

/** Letters that compare alike: no case, no accents. */
const plain = (text) => text.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase();

function narrow(target) {
  const search = document.querySelector(`input[data-target="${target}"]`);
  const choice = document.querySelector(`select[data-target="${target}"]`);
  const words = plain(search ? search.value : '').split(/\s+/).filter(Boolean);
  const kind = choice ? choice.value : '';
  const all = items(target);
  let shown = 0;
  for (const item of all) {
    const text = plain(item.dataset.text);
    const kinds = (item.dataset.kind || '').split(' ');
    const fits = words.every((word) => text.includes(word)) && (!kind || kinds.includes(kind));
    item.hidden = !fits;
    shown += fits;
  }
  const count = document.querySelector(`output[data-target="${target}"]`);
  if (count) count.textContent = `${shown} of ${all.length}`;
}

/** Numbers before texts, each in their own order; equal ones keep their places. */
function compare(a, b) {
  const [x, y] = [Number(a), Number(b)];
  const [first, second] = [a === '' || Number.isNaN(x), b === '' || Number.isNaN(y)];
  if (first !== second) return first - second;
  return first ? a.localeCompare(b, 'en', { numeric: true, sensitivity: 'base' }) : x - y;
}

function sortTable(heading) {
  const row = heading.parentElement;
  const column = [...row.children].indexOf(heading);
  const isNumber = heading.classList.contains('number');
  const before = heading.getAttribute('aria-sort');
  const descending = before ? before === 'ascending' : isNumber;
  for (const other of row.children) other.removeAttribute('aria-sort');
  heading.setAttribute('aria-sort', descending ? 'descending' : 'ascending');
  const body = heading.closest('table').tBodies[0];
  const value = (line) => line.cells[column].dataset.value ?? line.cells[column].textContent.trim();
  const sign = descending ? -1 : 1;
  body.append(...[...body.rows].sort((a, b) => sign * compare(value(a), value(b))));
}

function order(select) {
  const [, sign, key] = select.value.match(/^(-?)(\w+)$/);
  const parent = document.getElementById(select.dataset.order);
  const factor = sign ? -1 : 1;
  parent.append(
    ...items(parent.id).sort((a, b) => factor * compare(a.dataset[key], b.dataset[key])),
  );
}

function changeTheme(button) {
  const next = { '': 'light', light: 'dark', dark: '' }[document.documentElement.dataset.theme || ''];
  if (next) document.documentElement.dataset.theme = next;
  else delete document.documentElement.dataset.theme;
  button.textContent = `Theme: ${next || 'as the system'}`;
}

/** "/" goes from one search field to the next, Escape empties the one that has the focus. */
function onKey(event) {
  const active = document.activeElement;
  const fields = [...document.querySelectorAll('input[type="search"]')];
  const typing = active && /^(INPUT|SELECT|TEXTAREA)$/.test(active.tagName);
  if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const below = fields.find((field) => field.getBoundingClientRect().top > 0) || fields[0];
    if (below) {
      event.preventDefault();
      below.focus();
    }
  } else if (event.key === 'Escape' && fields.includes(active)) {
    active.value = '';
    narrow(active.dataset.target);
  }
}

for (const controls of document.querySelectorAll('.controls')) controls.hidden = false;
for (const field of document.querySelectorAll('input[data-target], select[data-target]')) {
  field.addEventListener('input', () => narrow(field.dataset.target));
}
for (const count of document.querySelectorAll('output[data-target]')) narrow(count.dataset.target);
for (const button of document.querySelectorAll('.sort')) {
  button.addEventListener('click', () => sortTable(button.closest('th')));
}
for (const select of document.querySelectorAll('select[data-order]')) {
  select.addEventListener('input', () => order(select));
}
const theme = document.getElementById('theme');
theme.hidden = false;
theme.addEventListener('click', () => changeTheme(theme));
document.addEventListener('keydown', onKey);
