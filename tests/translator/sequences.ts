// Small guest sequences, each of one kind of work, whose translations the goldens hold. A line is an instruction: its
// bytes and what they mean; the listings in the goldens are a disassembler's.

import type { GuestCode } from './region-report.ts';

export interface Sequence {
  /** Of the golden's file. */
  readonly name: string;
  readonly what: string;
  /** Offset of the first byte in its page, 0 if left out. */
  readonly origin?: number;
  readonly landings?: readonly number[];
  readonly code: string;
}

export function codeOf({ origin = 0, landings = [], code }: Sequence): GuestCode {
  const bytes = code
    .trim()
    .split('\n')
    .flatMap((line) => line.trim().split('  ')[0]!.split(' '))
    .map((byte) => Number.parseInt(byte, 16));
  return { origin, landings, bytes: Uint8Array.from(bytes) };
}

export const SEQUENCES: readonly Sequence[] = [
  {
    name: 'move-and-add',
    what: 'registers moved and added, 64 and 32 bits',
    code: `
      48 89 f8                    mov rax, rdi
      48 01 f0                    add rax, rsi
      89 c1                       mov ecx, eax
      83 e9 05                    sub ecx, 0x5
      48 8d 54 88 10              lea rdx, [rax+rcx*4+0x10]
    `,
  },
  {
    name: 'load',
    what: 'loads of every size',
    code: `
      48 8b 07                    mov rax, qword [rdi]
      8b 4f 08                    mov ecx, dword [rdi+0x8]
      0f b7 57 0c                 movzx edx, word [rdi+0xc]
      48 0f be 74 07 0e           movsx rsi, byte [rdi+rax*1+0xe]
    `,
  },
  {
    name: 'store',
    what: 'stores of every size',
    code: `
      48 89 07                    mov qword [rdi], rax
      89 4f 08                    mov dword [rdi+0x8], ecx
      66 89 57 0c                 mov word [rdi+0xc], dx
      c6 47 0e 07                 mov byte [rdi+0xe], 0x7
    `,
  },
  {
    name: 'modify',
    what: 'read-modify-write of memory',
    code: `
      83 07 01                    add dword [rdi], 0x1
      48 09 47 08                 or qword [rdi+0x8], rax
      48 ff 06                    inc qword [rsi]
    `,
  },
  {
    name: 'push-and-pop',
    what: 'the stack',
    code: `
      53                          push rbx
      41 54                       push r12
      48 89 fb                    mov rbx, rdi
      41 5c                       pop r12
      5b                          pop rbx
    `,
  },
  {
    name: 'rip-relative',
    what: 'a variable of the program itself',
    code: `
      8b 05 00 20 00 00           mov eax, dword [rip+0x2000]
      01 f8                       add eax, edi
      89 05 00 20 00 00           mov dword [rip+0x2000], eax
    `,
  },
  {
    name: 'segment',
    what: 'the stack protector: a load through FS',
    code: `
      64 48 8b 04 25 28 00 00 00  mov rax, qword fs:0x28
      48 89 44 24 08              mov qword [rsp+0x8], rax
      31 c0                       xor eax, eax
    `,
  },
  {
    name: 'compare-loop',
    what: 'a loop over memory that ends with CMP and Jcc',
    code: `
      48 8b 07                    mov rax, qword [rdi]
      48 83 c7 08                 add rdi, 0x8
      48 01 c1                    add rcx, rax
      48 39 d7                    cmp rdi, rdx
      75 f1                       jne page+0x0
    `,
  },
  {
    name: 'count-loop',
    what: 'a loop that counts with INC and tests',
    code: `
      48 ff c0                    inc rax
      48 01 c1                    add rcx, rax
      ff ca                       dec edx
      75 f6                       jne page+0x0
    `,
  },
  {
    name: 'branches',
    what: 'two sides that meet again',
    code: `
      85 ff                       test edi, edi
      78 05                       js page+0x9
      8d 47 01                    lea eax, [rdi+0x1]
      eb 04                       jmp page+0xd
      89 f8                       mov eax, edi
      f7 d8                       neg eax
      01 f0                       add eax, esi
      83 f8 0a                    cmp eax, 0xa
      7f 05                       jg page+0x19
      b8 0a 00 00 00              mov eax, 0xa
      83 c0 01                    add eax, 0x1
    `,
  },
  {
    name: 'add-with-carry',
    what: 'ADC in a loop whose counter leaves CF alone',
    code: `
      48 8b 06                    mov rax, qword [rsi]
      48 13 07                    adc rax, qword [rdi]
      48 89 06                    mov qword [rsi], rax
      48 8d 76 08                 lea rsi, [rsi+0x8]
      48 8d 7f 08                 lea rdi, [rdi+0x8]
      ff c9                       dec ecx
      75 eb                       jne page+0x0
    `,
  },
  {
    name: 'hash',
    what: 'rotates, exclusive ors and additions, as in SHA-256',
    code: `
      89 f8                       mov eax, edi
      c1 c8 06                    ror eax, 0x6
      89 f9                       mov ecx, edi
      c1 c9 0b                    ror ecx, 0xb
      31 c8                       xor eax, ecx
      c1 c1 07                    rol ecx, 0x7
      31 c8                       xor eax, ecx
      01 c2                       add edx, eax
      31 d7                       xor edi, edx
      21 f7                       and edi, esi
    `,
  },
  {
    name: 'shift',
    what: 'shifts by constants and by CL',
    code: `
      48 c1 e0 04                 shl rax, 0x4
      c1 e9 07                    shr ecx, 0x7
      c1 fa 1f                    sar edx, 0x1f
      48 d3 e7                    shl rdi, cl
      48 0f ac f8 0c              shrd rax, rdi, 0xc
    `,
  },
  {
    name: 'multiply',
    what: 'multiplications',
    code: `
      48 0f af c7                 imul rax, rdi
      6b ca 64                    imul ecx, edx, 0x64
      48 f7 e6                    mul rsi
      48 01 c8                    add rax, rcx
    `,
  },
  {
    name: 'divide',
    what: 'a division of 32 and one of 64 bits',
    code: `
      89 f8                       mov eax, edi
      31 d2                       xor edx, edx
      f7 f6                       div esi
      48 89 c8                    mov rax, rcx
      48 99                       cqo
      49 f7 f8                    idiv r8
    `,
  },
  {
    name: 'partial-registers',
    what: '8- and 16-bit registers',
    code: `
      88 d0                       mov al, dl
      80 c4 03                    add ah, 0x3
      88 e1                       mov cl, ah
      66 31 cb                    xor bx, cx
      0f b6 f3                    movzx esi, bl
      66 ff c7                    inc di
    `,
  },
  {
    name: 'conditional-move',
    what: 'CMOV and SETcc',
    code: `
      48 39 f7                    cmp rdi, rsi
      48 0f 4c fe                 cmovl rdi, rsi
      0f 92 c0                    setb al
      0f b6 c0                    movzx eax, al
      48 85 d2                    test rdx, rdx
      0f 48 cf                    cmovs ecx, edi
    `,
  },
  {
    name: 'bit-test',
    what: 'BT and what reads CF',
    code: `
      0f a3 f7                    bt edi, esi
      0f 92 c0                    setb al
      48 0f ba ea 05              bts rdx, 0x5
      83 d1 00                    adc ecx, 0x0
      0f bc c2                    bsf eax, edx
      f3 48 0f bc f7              tzcnt rsi, rdi
    `,
  },
  {
    name: 'call',
    what: 'a caller: it goes on behind the call',
    code: `
      48 89 df                    mov rdi, rbx
      be 0a 00 00 00              mov esi, 0xa
      e8 f3 03 00 00              call page+0x400
      48 01 d8                    add rax, rbx
      41 ff 54 24 18              call qword [r12+0x18]
      48 83 c0 01                 add rax, 0x1
    `,
  },
  {
    name: 'recursion',
    what: 'a function that calls itself: calls and returns are branches',
    code: `
      85 ff                       test edi, edi
      74 0e                       je page+0x12
      53                          push rbx
      89 fb                       mov ebx, edi
      ff cf                       dec edi
      e8 f2 ff ff ff              call page+0x0
      01 d8                       add eax, ebx
      5b                          pop rbx
      c3                          ret
      31 c0                       xor eax, eax
      c3                          ret
    `,
  },
  {
    name: 'function',
    what: 'a callee with a frame',
    code: `
      55                          push rbp
      48 89 e5                    mov rbp, rsp
      48 83 ec 20                 sub rsp, 0x20
      48 89 7d f8                 mov qword [rbp-0x8], rdi
      48 8b 45 f8                 mov rax, qword [rbp-0x8]
      48 01 f0                    add rax, rsi
      c9                          leave
      c3                          ret
    `,
  },
  {
    name: 'tail-jump',
    what: 'a direct jump out, and one through memory',
    code: `
      48 85 ff                    test rdi, rdi
      74 06                       je page+0xb
      48 8b 07                    mov rax, qword [rdi]
      ff 60 10                    jmp qword [rax+0x10]
      31 c0                       xor eax, eax
      e9 ee 07 00 00              jmp page+0x800
    `,
  },
  {
    name: 'jump-table',
    what: 'a switch: an indirect jump with known landings',
    landings: [0x15, 0x1c, 0x21],
    code: `
      83 ff 03                    cmp edi, 0x3
      77 1e                       ja page+0x23
      48 8d 15 00 01 00 00        lea rdx, [rip+0x100]
      48 63 04 ba                 movsxd rax, dword [rdx+rdi*4]
      48 01 d0                    add rax, rdx
      ff e0                       jmp rax
      b8 0a 00 00 00              mov eax, 0xa
      eb 07                       jmp page+0x23
      83 c6 14                    add esi, 0x14
      eb 02                       jmp page+0x23
      31 c0                       xor eax, eax
      01 f0                       add eax, esi
    `,
  },
  {
    name: 'string-copy',
    what: 'REP MOVSB and REP STOSQ',
    code: `
      48 89 d1                    mov rcx, rdx
      f3 a4                       rep movs byte es:[rdi], byte ds:[rsi]
      b9 08 00 00 00              mov ecx, 0x8
      f3 48 ab                    rep stos qword es:[rdi], rax
    `,
  },
  {
    name: 'double-arithmetic',
    what: 'a scalar product: MULSD and ADDSD with loads',
    code: `
      f2 0f 10 0c c7              movsd xmm1, qword [rdi+rax*8]
      f2 0f 59 0c c6              mulsd xmm1, qword [rsi+rax*8]
      f2 0f 58 c1                 addsd xmm0, xmm1
      48 ff c0                    inc rax
      48 39 d0                    cmp rax, rdx
      75 ea                       jne page+0x0
    `,
  },
  {
    name: 'vector-copy',
    what: '16 bytes a turn through an XMM register',
    code: `
      f3 0f 6f 04 06              movdqu xmm0, xmmword [rsi+rax*1]
      0f 11 04 07                 movups xmmword [rdi+rax*1], xmm0
      48 83 c0 10                 add rax, 0x10
      48 39 d0                    cmp rax, rdx
      72 ee                       jb page+0x0
    `,
  },
  {
    name: 'vector-integer',
    what: 'SSE2 integers: compare, mask, find',
    code: `
      66 0f 6f 0f                 movdqa xmm1, xmmword [rdi]
      66 0f 74 c8                 pcmpeqb xmm1, xmm0
      66 0f d7 c1                 pmovmskb eax, xmm1
      48 83 c7 10                 add rdi, 0x10
      85 c0                       test eax, eax
      74 ec                       je page+0x0
      0f bc c0                    bsf eax, eax
    `,
  },
  {
    name: 'compare-exchange',
    what: 'a counter that several processors add to',
    code: `
      8b 07                       mov eax, dword [rdi]
      8d 50 01                    lea edx, [rax+0x1]
      f0 0f b1 17                 lock cmpxchg dword [rdi], edx
      75 f7                       jne page+0x2
      f0 48 0f c1 0e              lock xadd qword [rsi], rcx
    `,
  },
  {
    name: 'two-pages',
    what: 'a loop across the end of a page',
    origin: 4090,
    code: `
      48 03 07                    add rax, qword [rdi]
      48 83 c7 08                 add rdi, 0x8
      48 31 c1                    xor rcx, rax
      ff ca                       dec edx
      75 f2                       jne page+0xffa
    `,
  },
  {
    name: 'system-call',
    what: 'a system call',
    code: `
      b8 27 00 00 00              mov eax, 0x27
      0f 05                       syscall
      48 89 c3                    mov rbx, rax
    `,
  },
];
