"""What runs on an instance: it makes the environment, does the job, saves it, and ends the machine.

    python3 bootstrap.py FOLDER                 any system Python: makes the environment and starts the runner in it
    python -m aws.instance.runner FOLDER        the job from its data to its end

Files in the folder, which is /opt/stranger on an instance:

    ready | failed        what became of user-data; ``failed`` says why
    confirmed             the machine is wanted: it no longer ends itself for want of work
    code/                 the project
    job.json              what is to be done, see ``folder.Assignment``
    log                   all that was said, of earlier machines too: only ever grows, as the bucket's copy does
    state.json            one line: stage, message, progress, at, cost_usd, attempt
    exit.json             one line, written last: stage, exit_status, output, failing_line, at, kept, saved, attempt
    venv-<hash>/          the environment; ``.installed`` in it once it is complete
    work/                 data/, runs/, cache/, logs/, hub/ and progress.json of the job
"""
