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
    if (event.key === 'Escape') { event.stopPropagation(); close(); }
    if (event.key === 'Enter' && !event.shiftKey && event.target === box) { event.preventDefault(); form.requestSubmit(); }
  });
  message.classList.add('editing');
  one('.bubble', message).append(form);
  box.style.height = Math.min(box.scrollHeight + 4, 320) + 'px';
  message.scrollIntoView({block: 'nearest'});
  box.focus();
}

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

const wide = () => matchMedia('(pointer: fine)').matches;

function press(selector) {
  const button = one(selector);
  if (button && !button.disabled) button.click();
  return Boolean(button);
}

const ALT = {
  KeyR: '#retry', KeyC: '#continue', KeyZ: '#undo', KeyY: '#redo', KeyT: '#let-talk', KeyN: '#new',
  Comma: '#transcript .last [data-act=left]', Period: '#transcript .last [data-act=right]',
};

function onKey(event) {
  const box = one('#box textarea');
  if (event.target === box && event.key === 'Enter' && event.shiftKey) event.stopImmediatePropagation();
  else if (event.key === 'Escape' && !event.target.closest('form')) press('#stop');
  else if (event.altKey && !event.ctrlKey && !event.metaKey && ALT[event.code] && press(ALT[event.code])) {
    event.preventDefault();
  } else if (event.target === box && event.key === 'ArrowUp' && !box.value) {
    const mine = document.querySelectorAll('#transcript .message.user [data-act=edit]');
    if (mine.length) { event.preventDefault(); openEditor(mine[mine.length - 1]); }
  }
}

function onClick(event) {
  const toggle = event.target.closest('[data-toggle]');
  if (toggle) {
    const open = one('#side').classList.toggle('open');
    toggle.setAttribute('aria-expanded', String(open));
  }
  if (event.target.closest('[data-act=open]')) one('#side').classList.remove('open');
  if (event.target.closest('#buttons button, #new, #let-talk') && wide()) one('#box textarea')?.focus();
}

function keepAtEnd(chat) {
  let atEnd = true, ours = 0;
  chat.addEventListener('scroll', () => {
    const left = chat.scrollHeight - chat.scrollTop - chat.clientHeight;
    if (Math.abs(chat.scrollTop - ours) > 2) atEnd = left < 60;
  });
  new MutationObserver(() => {
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
  }).observe(chat, {subtree: true, childList: true, characterData: true});
}

const chat = one('#chat');
if (chat && !chat.dataset.ready) {
  chat.dataset.ready = 'yes';
  chat.tabIndex = 0;
  chat.setAttribute('role', 'region');
  chat.setAttribute('aria-label', 'Messages');
  keepAtEnd(chat);
  document.addEventListener('keydown', onKey, true);
  document.addEventListener('click', onClick);
}
