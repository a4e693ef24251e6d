// What runs in the browser beside gradio: buttons in the HTML, editing in place, the keyboard, scrolling, focus.
// Each HTML component runs this once with its own element and trigger; what is for the whole page is set up once.
'use strict';
const tell = (data) => trigger(data.act === 'edit' ? 'speak' : 'act', data);
const one = (selector, within) => (within || document).querySelector(selector);

function openEditor(button) {
  const message = button.closest('.message'), said = one('.text', message);
  if (one('form', message)) return;
  const form = document.createElement('form'), box = document.createElement('textarea');
  form.className = 'editor';
  form.dataset.act = 'edit';
  form.dataset.id = button.dataset.id;
  box.name = 'text';
  box.value = said ? said.textContent : '';
  box.setAttribute('aria-label', 'The message in other words');
  const save = document.createElement('button'), cancel = document.createElement('button');
  save.textContent = button.dataset.role === 'user' ? 'Save and ask' : 'Save';
  cancel.textContent = 'Cancel';
  cancel.type = 'button';
  form.append(box, save, cancel);
  const close = () => { form.remove(); message.classList.remove('editing'); button.focus(); };
  cancel.addEventListener('click', close);
  form.addEventListener('keydown', (event) => {
    if (event.isComposing) return;  // Enter and Escape belong to whoever writes by choosing signs, as in Japanese
    if (event.key === 'Escape') { event.stopPropagation(); close(); }
    if (event.key === 'Enter' && !event.shiftKey && event.target === box) { event.preventDefault(); form.requestSubmit(); }
  });
  message.classList.add('editing');
  one('.bubble', message).append(form);
  box.style.height = Math.min(box.scrollHeight + 4, 320) + 'px';
  message.scrollIntoView({block: 'nearest'});
  box.focus();
}

const wide = () => matchMedia('(pointer: fine)').matches;
// On a phone the box would bring the keyboard, which hides what has just come.
const rest = () => (wide() ? one('#box textarea') : one('#chat'))?.focus({preventScroll: true});

// What is shown anew takes the focus with it: it goes back to the same control, or on to where one writes.
const OTHER = {left: 'right', right: 'left'}, LEAVES = ['branch', 'delete', 'delete_all', 'import'];
let held = null;

element.addEventListener('focusin', ({target}) => {
  const control = target.closest('[data-act]'), summary = one('summary', target.closest('details') || target);
  held = {node: target, ...control?.dataset, summary: summary?.textContent};
});
document.addEventListener('focusin', ({target}) => { if (!element.contains(target)) held = null; });

function again({act, id, kind, summary}) {
  if (LEAVES.includes(act)) return null;
  const which = (id ? `[data-id="${id}"]` : '') + (kind ? `[data-kind="${kind}"]` : '');
  const found = act && [`[data-act="${act}"]${which}`, `.last [data-act="${act}"]`, `.last [data-act="${OTHER[act]}"]`];
  return found?.map((each) => one(`${each}:not(form):not(:disabled)`, element)).find((each) => each?.checkVisibility())
    || [...element.querySelectorAll('summary')].find((each) => each.textContent === summary);
}

const isLost = (node) => !node.isConnected || node.disabled || !node.checkVisibility();

new MutationObserver(() => {
  if (!held || !isLost(held.node) || ![document.body, held.node].includes(document.activeElement)) return;
  const found = again(held);
  held = null;
  if (found) found.focus({preventScroll: true}); else rest();
}).observe(element, {subtree: true, childList: true, attributeFilter: ['disabled', 'open']});

element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-act]');
  if (!button || button.disabled) return;
  event.preventDefault();
  if (button.dataset.act === 'edit') openEditor(button);
  else tell({...button.dataset});
});

element.addEventListener('submit', (event) => {
  event.preventDefault();
  const form = event.target;
  tell({...form.dataset, text: form.elements.text.value});
  form.closest('details')?.removeAttribute('open');
  if (form.classList.contains('editor')) { form.closest('.message').classList.remove('editing'); form.remove(); }
});

element.addEventListener('change', (event) => {
  const input = event.target, file = input.files && input.files[0];
  if (input.dataset.act !== 'import' || !file) return;
  const reader = new FileReader();
  reader.onload = () => tell({act: 'import', name: file.name, content: String(reader.result).split(',')[1] || ''});
  reader.readAsDataURL(file);
  input.value = '';
});

function press(selector) {
  const button = one(selector);
  if (button && !button.disabled) button.click();
  return Boolean(button);
}

const ALT = {
  KeyR: '#retry', KeyC: '#continue', KeyZ: '#undo', KeyY: '#redo', KeyT: '#let-talk', KeyN: '#new',
  Comma: '#transcript .last [data-act=left]', Period: '#transcript .last [data-act=right]',
};

// By the letter where the keyboard gives one: Z and Y change places in Germany. On a Mac Alt makes it another sign.
const keyOf = ({key, code}) => (/^[a-z]$/i.test(key) ? 'Key' + key.toUpperCase() : code);

function onKey(event) {
  const box = one('#box textarea'), act = ALT[keyOf(event)];
  if (event.isComposing) return;
  if (event.target === box && event.key === 'Enter' && event.shiftKey) event.stopImmediatePropagation();
  else if (event.key === 'Escape' && !event.target.closest('form, [aria-expanded=true]')) press('#stop');
  else if (event.altKey && !event.ctrlKey && !event.metaKey && act && press(act)) {
    event.preventDefault();
  } else if (event.target === box && event.key === 'ArrowUp' && !box.value) {
    const mine = document.querySelectorAll('#transcript .message.user [data-act=edit]');
    if (mine.length) { event.preventDefault(); openEditor(mine[mine.length - 1]); }
  }
}

function onClick(event) {
  if (!event.target.closest('button, summary, textarea')) {  // a finger that touches a message asks for its tools
    const message = event.target.closest('#transcript .message');
    for (const each of document.querySelectorAll('.message.tapped')) if (each !== message) each.classList.remove('tapped');
    if (message && matchMedia('(hover: none)').matches) message.classList.toggle('tapped');
  }
  const toggle = event.target.closest('[data-toggle]');
  if (toggle) {
    const open = one('#side').classList.toggle('open');
    toggle.setAttribute('aria-expanded', String(open));
  }
  if (event.target.closest('[data-act=open]')) {
    one('#side').classList.remove('open');
    one('#toggle').setAttribute('aria-expanded', 'false');
    if (event.detail && wide()) rest();  // not who goes through the list with the keyboard
  }
  if (event.target.closest('#buttons button, #new, #let-talk') && wide()) one('#box textarea')?.focus();
}

function keepAtEnd(chat) {
  let atEnd = true, ours = 0;
  chat.addEventListener('scroll', () => {
    const left = chat.scrollHeight - chat.scrollTop - chat.clientHeight;
    if (Math.abs(chat.scrollTop - ours) > 2) atEnd = left < 60;
  });
  const settle = () => {
    const found = one('.message.found', chat);
    if (found && !found.dataset.seen) {
      found.dataset.seen = 'yes';
      found.scrollIntoView({block: 'center'});
      atEnd = false;
    } else if (atEnd && !one('.editor', chat)) {  // the end, but the last message and the one before stay in sight
      const all = chat.querySelectorAll('.message'), before = all[all.length - 2];
      const first = before && before.offsetHeight < chat.clientHeight / 2 ? before : all[all.length - 1];
      const top = first ? first.getBoundingClientRect().top - chat.getBoundingClientRect().top + chat.scrollTop - 8 : 0;
      chat.scrollTop = Math.min(chat.scrollHeight - chat.clientHeight, Math.max(0, top));
      ours = chat.scrollTop;
    }
  };
  new MutationObserver(settle).observe(chat, {subtree: true, childList: true, characterData: true});
  new ResizeObserver(settle).observe(chat);  // it makes room for who speaks next, and for the keyboard of a phone
}

// A reply is read out once, when it is whole: while it is written it would be read from the start with each word.
function readOut(chat) {
  const said = document.createElement('p');
  said.className = 'read-out';
  said.setAttribute('role', 'status');
  document.body.append(said);
  let wrote = false;
  new MutationObserver(() => {
    if (one('#live .writing')) { wrote = true; return; }
    const last = one('#transcript .message.bot.last');
    if (!wrote || !last) return;
    wrote = false;
    const parts = [...last.querySelectorAll('.speaker, .text, .state')].map((each) => each.textContent);
    said.textContent = parts.join(': ').replace(/: \((.*)\)$/, ': $1');
  }).observe(chat, {subtree: true, childList: true});
}

const chat = one('#chat');
if (chat && !chat.dataset.ready) {
  chat.dataset.ready = 'yes';
  chat.tabIndex = 0;
  chat.setAttribute('role', 'region');
  chat.setAttribute('aria-label', 'Messages');
  keepAtEnd(chat);
  readOut(chat);
  document.addEventListener('keydown', onKey, true);
  document.addEventListener('click', onClick);
  document.addEventListener('visibilitychange', () => {  // another tab may have gone on with the same conversation
    if (!document.hidden && !one('.editor')) tell({act: 'look'});
  });
}
