// What gradio 6.31 leaves out for the keyboard and for screen readers, mended wherever it shows something anew.
'use strict';

// Each radio button has a name of its own there: each is a stop for Tab, and the arrow keys do nothing.
function joinRadios(group, number) {
  const title = group.querySelector('[data-testid=block-info]');
  group.setAttribute('role', 'radiogroup');
  if (title) group.setAttribute('aria-label', title.textContent.trim());
  for (const radio of group.querySelectorAll('input[type=radio]')) {
    const name = 'choice-' + (group.id || number);
    if (radio.name !== name) radio.name = name;
  }
}

// "Remove 3" says how many are before it in the list of all.
function nameToken(button) {
  const name = 'Remove ' + (button.parentElement.querySelector('span')?.textContent.trim() || '');
  if (button.title !== name) { button.title = name; button.setAttribute('aria-label', name); }
}

function mend() {
  document.querySelectorAll('fieldset:has(input[type=radio])').forEach(joinRadios);
  document.querySelectorAll('.token-remove').forEach((button) => { if (button.closest('.token')) nameToken(button); });
}

// After a vote, or once both are asked, its button is off: who pressed it with the keyboard goes on writing.
let pressed = null;
function moveOn() {
  if (!pressed?.disabled || ![document.body, pressed].includes(document.activeElement)) return;
  if (matchMedia('(pointer: fine)').matches) document.querySelector('#compare-box textarea')?.focus({preventScroll: true});
  pressed = null;
}

if (!document.body.dataset.mended) {
  document.body.dataset.mended = 'yes';
  // It gives new names whenever another button is chosen.
  new MutationObserver(() => { mend(); moveOn(); }).observe(
    document.body, {subtree: true, childList: true, attributeFilter: ['name', 'disabled']});
  document.addEventListener('focusin', ({target}) => { pressed = target.closest('#votes button, [id^=compare-]'); });
  mend();
}
